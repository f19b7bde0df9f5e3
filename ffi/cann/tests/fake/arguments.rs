//! Each operator's struct passes its fields as the parameters that they are.
//!
//! Tensors are told apart by their first dim; the fake operators log what they are passed under the names of the header's
//! parameters.

use crate::installation::Installation;
use mxhal_cann::library::Search;
use mxhal_cann::safe::op::*;
use mxhal_cann::safe::{
    Context, DataType, DeviceBuffer, Executor, Format, IntArray, Runtime, TensorList, TensorSpec, TensorView,
};

struct Bench {
    installation: Installation,
    context: Context,
}

impl Bench {
    fn new(has: impl Fn(&str) -> bool) -> Self {
        let installation = Installation::with_operators(has);
        let runtime = Runtime::open(&Search::only(installation.root())).unwrap();
        let context = Context::new(&runtime, 0).unwrap();
        Self { installation, context }
    }

    fn tensor(&self, number: i64) -> TensorView {
        self.tensor_of(number, DataType::Float4E2m1, Format::ND)
    }

    fn tensor_of(&self, number: i64, data_type: DataType, format: Format) -> TensorView {
        let spec = TensorSpec::contiguous(data_type, &[number, 2]).with_storage(format, &[number, 2]);
        let buffer = DeviceBuffer::new(&self.context, spec.bytes().unwrap()).unwrap();
        TensorView::new(spec, &buffer, 0).unwrap()
    }

    fn list(&self, number: i64) -> TensorList {
        self.list_of(number, Format::ND)
    }

    fn list_of(&self, number: i64, format: Format) -> TensorList {
        TensorList::new(&self.context, vec![self.tensor_of(number, DataType::Float4E2m1, format)]).unwrap()
    }

    /// What the first function was passed, by name, nulls left out.
    fn passed(&self, prepare: impl FnOnce(&Context) -> mxhal_cann::Result<Executor>) -> String {
        self.installation.log();
        let executor = prepare(&self.context).unwrap();
        let log = self.installation.log();
        let words = log.split_whitespace().filter(|word| !word.ends_with("=null"));
        assert!(log.starts_with(executor.function()), "{log}");
        words.collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn quantise_and_dequantise() {
    let bench = Bench::new(|_| true);
    let (one, two, three) = (bench.tensor(1), bench.tensor(2), bench.tensor(3));
    let mut quantise = DynamicMxQuant::new(&one, &two, &three);
    (quantise.axis, quantise.round_mode, quantise.block_size) = (1, RoundMode::Floor, 64);
    (quantise.scale_alg, quantise.dst_type_max, quantise.max_low_bound) = (2, 6.5, 0.25);
    assert_eq!(
        bench.passed(|context| quantise.prepare(context)),
        "aclnnDynamicMxQuantV3 x=1 axis=1 roundModeOptional=floor dstType=40 blocksize=64 scaleAlg=2 dstTypeMax=6.5 \
         maxLowBound=0.25 yOut=2 mxscaleOut=3"
    );
    assert_eq!(
        bench.passed(|context| AntiMxQuant::new(&one, &two, &three).prepare(context)),
        "aclnnAntiMxQuant x=1 mxscale=2 axis=-1 dstType=40 y=3"
    );
}

#[test]
fn quantise_with_the_older_versions() {
    let v2 = Bench::new(|name| !name.contains("QuantV3"));
    let (one, two, three) = (v2.tensor(1), v2.tensor(2), v2.tensor(3));
    let mut quantise = DynamicMxQuant::new(&one, &two, &three);
    (quantise.scale_alg, quantise.dst_type_max) = (2, 6.5);
    assert_eq!(
        v2.passed(|context| quantise.prepare(context)),
        "aclnnDynamicMxQuantV2 x=1 axis=-1 roundModeOptional=rint dstType=40 blocksize=32 scaleAlg=2 dstTypeMax=6.5 \
         yOut=2 mxscaleOut=3"
    );
    let v1 = Bench::new(|name| !name.contains("QuantV"));
    let (one, two, three) = (v1.tensor(1), v1.tensor(2), v1.tensor(3));
    assert_eq!(
        v1.passed(|context| DynamicMxQuant::new(&one, &two, &three).prepare(context)),
        "aclnnDynamicMxQuant x=1 axis=-1 roundModeOptional=rint dstType=40 blocksize=32 scaleAlg=0 yOut=2 mxscaleOut=3"
    );
}

#[test]
fn swiglu() {
    let bench = Bench::new(|_| true);
    let (one, two, three, four) = (bench.tensor(1), bench.tensor(2), bench.tensor(3), bench.tensor(4));
    let mut swiglu = SwigluMxQuant::new(&one, &two, &three);
    swiglu.group_index = Some(&four);
    (swiglu.activate_dim, swiglu.activate_left, swiglu.swiglu_mode) = (1, false, 7);
    (swiglu.clamp_limit, swiglu.glu_alpha, swiglu.glu_bias) = (10.0, 1.5, 0.5);
    (swiglu.group_mode, swiglu.axis, swiglu.round_mode) = (8, 9, RoundMode::Round);
    (swiglu.scale_alg, swiglu.max_dtype_value) = (2, 6.0);
    assert_eq!(
        bench.passed(|context| swiglu.prepare(context)),
        "aclnnSwigluMxQuant x=1 groupIndexOptional=4 activateDim=1 activateLeft=0 swigluMode=7 clampLimit=10 \
         gluAlpha=1.5 gluBias=0.5 groupMode=8 axis=9 dstType=40 roundModeOptional=round scaleAlg=2 maxDtypeValue=6 \
         yOut=2 mxscaleOut=3"
    );
    assert_eq!(
        bench.passed(|context| SwiGlu::new(&one, &two).prepare(context)),
        "aclnnSwiGlu x=1 dim=-1 out=2"
    );
}

#[test]
fn dense_matmul() {
    let bench = Bench::new(|_| true);
    let [x1, x2, x1_scale, x2_scale, out, bias] = [1, 2, 3, 4, 5, 6].map(|number| bench.tensor(number));
    let nz = bench.tensor_of(7, DataType::Float4E2m1, Format::FRACTAL_NZ);
    let mut matmul = QuantMatmul::new(&x1, &x1_scale, &x2, &x2_scale, &out);
    matmul.bias = Some(&bias);
    let rest = "bias=6 transposeX1=0 transposeX2=1 groupSize=4295032864 out=5";
    assert_eq!(
        bench.passed(|context| matmul.prepare(context)),
        format!("aclnnQuantMatmulV5 x1=1 x2=2 x1Scale=3 x2Scale=4 {rest}")
    );
    matmul.x2 = &nz;
    assert_eq!(
        bench.passed(|context| matmul.prepare(context)),
        format!("aclnnQuantMatmulWeightNz x1=1 x2=7 x1Scale=3 x2Scale=4 {rest}")
    );
}

#[test]
fn matmul_with_a_quantised_weight() {
    for (version, extra) in [("V3", " innerPrecise=0"), ("V2", "")] {
        let bench = Bench::new(|name| version == "V3" || !name.contains("BatchMatmulV3"));
        let [x, weight, scale, y, offset, quant_scale, quant_offset, bias] =
            [1, 2, 3, 4, 5, 6, 7, 8].map(|number| bench.tensor(number));
        let mut matmul = WeightQuantBatchMatmul::new(&x, &weight, &scale, &y);
        (matmul.offset, matmul.quant_scale) = (Some(&offset), Some(&quant_scale));
        (matmul.quant_offset, matmul.bias) = (Some(&quant_offset), Some(&bias));
        assert_eq!(
            bench.passed(|context| matmul.prepare(context)),
            format!(
                "aclnnWeightQuantBatchMatmul{version} x=1 weight=2 antiquantScale=3 antiquantOffsetOptional=5 \
                 quantScaleOptional=6 quantOffsetOptional=7 biasOptional=8 antiquantGroupSize=32{extra} y=4"
            )
        );
    }
}

#[test]
fn grouped_matmul() {
    for version in ["V5", "V4"] {
        let bench = Bench::new(|name| version == "V5" || !name.contains("GroupedMatmulV5"));
        let [x, weight, out, bias, scale, rows, anti_scale, anti_offset] =
            [1, 2, 3, 4, 5, 6, 7, 8].map(|n| bench.list(n));
        let groups = bench.tensor(9);
        let tuning = IntArray::new(&bench.context, &[10]).unwrap();
        let nz = bench.list_of(11, Format::FRACTAL_NZ);
        let mut matmul = GroupedMatmul::new(&x, &weight, &out, &groups).with_mx_scales(&rows, &scale);
        matmul.bias = Some(&bias);
        (matmul.antiquant_scale, matmul.antiquant_offset) = (Some(&anti_scale), Some(&anti_offset));
        (matmul.group_list_type, matmul.split_item, matmul.group_type) = (GroupList::ExpertCounts, 2, 0);
        let inputs = |weight| {
            format!(
                "x=list:1 weight=list:{weight} biasOptional=list:4 scaleOptional=list:5 antiquantScaleOptional=list:7 \
                 antiquantOffsetOptional=list:8 perTokenScaleOptional=list:6 groupListOptional=9 splitItem=2 groupType=0 \
                 groupListType=2 actType=0"
            )
        };
        assert_eq!(
            bench.passed(|context| matmul.prepare(context)),
            format!("aclnnGroupedMatmul{version} {} out=list:3", inputs(2))
        );
        matmul.tuning = Some(&tuning);
        if version == "V5" {
            assert_eq!(
                bench.passed(|context| matmul.prepare(context)),
                format!("aclnnGroupedMatmulV5 {} tuningConfigOptional=ints:10 out=list:3", inputs(2))
            );
        } else {
            let error = matmul.prepare(&bench.context).unwrap_err().to_string();
            assert!(error.starts_with("aclnnGroupedMatmulV5 is not available"), "{error}");
        }
        (matmul.weight, matmul.quant_group_size) = (&nz, 32);
        assert_eq!(
            bench.passed(|context| matmul.prepare(context)),
            format!(
                "aclnnGroupedMatmulWeightNz {} tuningConfigOptional=ints:10 quantGroupSize=32 out=list:3",
                inputs(11)
            )
        );
    }
}

#[test]
fn grouped_matmul_refuses_weights_in_two_layouts_and_no_weights() {
    let bench = Bench::new(|_| true);
    let mixed = vec![bench.tensor(1), bench.tensor_of(2, DataType::Float4E2m1, Format::FRACTAL_NZ)];
    let mixed = TensorList::new(&bench.context, mixed).unwrap();
    let (x, out, groups) = (bench.list(3), bench.list(4), bench.tensor(5));
    let error =
        GroupedMatmul::new(&x, &mixed, &out, &groups).prepare(&bench.context).unwrap_err().to_string();
    assert!(error.contains("some weights") && error.contains("FRACTAL_NZ"), "{error}");
}

#[test]
fn grouped_matmul_with_swiglu() {
    let bench = Bench::new(|_| true);
    let [x, x_scale, groups, output, output_scale] = [1, 2, 3, 4, 5].map(|number| bench.tensor(number));
    let (weight, weight_scale, nz) = (bench.list(6), bench.list(7), bench.list_of(8, Format::FRACTAL_NZ));
    for (weight, name) in [
        (&weight, "aclnnGroupedMatmulSwigluQuantV2 x=1 weight=list:6"),
        (&nz, "aclnnGroupedMatmulSwigluQuantWeightNzV2 x=1 weight=list:8"),
    ] {
        let fused = GroupedMatmulSwigluQuant {
            x: &x,
            x_scale: &x_scale,
            weight,
            weight_scale: &weight_scale,
            group_list: &groups,
            group_list_type: GroupList::Counts,
            output: &output,
            output_scale: &output_scale,
        };
        assert_eq!(
            bench.passed(|context| fused.prepare(context)),
            format!(
                "{name} weightScale=list:7 xScale=2 groupList=3 dequantMode=2 dequantDtype=0 quantMode=2 groupListType=1 \
                 output=4 outputScale=5"
            )
        );
    }
}

#[test]
fn gates() {
    for version in ["V2", ""] {
        let bench = Bench::new(|name| version == "V2" || !name.contains("TopKV2"));
        let [x, y, expert, normed, bias, ids, table] =
            [1, 2, 3, 4, 5, 6, 7].map(|number| bench.tensor(number));
        let mut gate = MoeGatingTopK::new(&x, 8, Gate::SqrtSoftplus, &y, &expert);
        (gate.normed, gate.bias) = (Some(&normed), Some(&bias));
        (gate.k_group, gate.group_count, gate.group_select_mode) = (3, 4, 1);
        (gate.renorm, gate.out_flag, gate.routed_scaling_factor, gate.eps) = (true, true, 2.5, 0.125);
        let mut ids_and_table = "";
        if version == "V2" {
            (gate.input_ids, gate.token_to_expert) = (Some(&ids), Some(&table));
            ids_and_table = " inputIdsOptional=6 tid2eidOptional=7";
        }
        assert_eq!(
            bench.passed(|context| gate.prepare(context)),
            format!(
                "aclnnMoeGatingTopK{version} x=1 biasOptional=5{ids_and_table} k=8 kGroup=3 groupCount=4 \
                 groupSelectMode=1 renorm=1 normType=2 outFlag=1 routedScalingFactor=2.5 eps=0.125 yOut=2 expertIdxOut=3 \
                 outOut=4"
            )
        );
    }
}

#[test]
fn gates_by_softmax() {
    let bench = Bench::new(|_| true);
    let [x, y, expert, finished, row, softmax] = [1, 2, 3, 4, 5, 6].map(|number| bench.tensor(number));
    let mut gate = MoeGatingTopKSoftmax::new(&x, 8, &y, &expert);
    (gate.finished, gate.softmax, gate.renorm) = (Some(&finished), Some(&softmax), true);
    assert_eq!(
        bench.passed(|context| gate.prepare(context)),
        "aclnnMoeGatingTopKSoftmaxV2 x=1 finishedOptional=4 k=8 renorm=1 outputSoftmaxResultFlag=1 yOut=2 expertIdxOut=3 \
         softmaxResultOutOptional=6"
    );
    (gate.softmax, gate.renorm, gate.row) = (None, false, Some(&row));
    assert_eq!(
        bench.passed(|context| gate.prepare(context)),
        "aclnnMoeGatingTopKSoftmax x=1 finishedOptional=4 k=8 yOut=2 expertIdxOut=3 rowIdxOut=5"
    );
}

#[test]
fn rows_sorted_by_expert() {
    let bench = Bench::new(|_| true);
    let [x, expert, expanded, row, counts, expanded_scale, scale, offset] =
        [1, 2, 3, 4, 5, 6, 7, 8].map(|number| bench.tensor(number));
    let range = IntArray::new(&bench.context, &[9]).unwrap();
    let mut sort = MoeInitRouting::new(&x, &expert, 16, &expanded, &row, &counts);
    (sort.expanded_scale, sort.scale, sort.offset) = (Some(&expanded_scale), Some(&scale), Some(&offset));
    (sort.capacity, sort.drop_pad_mode, sort.counts_type, sort.quant_mode) = (10, 1, 2, 9);
    (sort.range, sort.row_type) = (Some(&range), 1);
    assert_eq!(
        bench.passed(|context| sort.prepare(context)),
        "aclnnMoeInitRoutingV3 x=1 expertIdx=2 scaleOptional=7 offsetOptional=8 activeNum=4 expertCapacity=10 \
         expertNum=16 dropPadMode=1 expertTokensNumType=2 expertTokensNumFlag=1 quantMode=9 \
         activeExpertRangeOptional=ints:9 rowIdxType=1 expandedXOut=3 expandedRowIdxOut=4 \
         expertTokensCountOrCumsumOut=5 expandedScaleOut=6"
    );
    let sort = MoeInitRoutingV2 {
        x: &x,
        expert: &expert,
        expanded: &expanded,
        row: &row,
        counts: Some(&counts),
        counts_before_capacity: Some(&scale),
        active: 11,
        capacity: 12,
        experts: 13,
        drop_pad_mode: 1,
        counts_type: 2,
    };
    assert_eq!(
        bench.passed(|context| sort.prepare(context)),
        "aclnnMoeInitRoutingV2 x=1 expertIdx=2 activeNum=11 expertCapacity=12 expertNum=13 dropPadMode=1 \
         expertTokensCountOrCumsumFlag=2 expertTokensBeforeCapacityFlag=1 expandedXOut=3 expandedRowIdxOut=4 \
         expertTokensCountOrCumsumOutOptional=5 expertTokensBeforeCapacityOutOptional=7"
    );
}

#[test]
fn rows_brought_back() {
    let bench = Bench::new(|_| true);
    let [expanded, row, scales, out, x1, x2, bias, expert] =
        [1, 2, 3, 4, 5, 6, 7, 8].map(|number| bench.tensor(number));
    let mut combine = MoeFinalizeRouting::new(&expanded, &row, &scales, &out);
    (combine.x1, combine.x2, combine.bias, combine.expert) =
        (Some(&x1), Some(&x2), Some(&bias), Some(&expert));
    assert_eq!(
        bench.passed(|context| combine.prepare(context)),
        "aclnnMoeFinalizeRoutingV2 expandedX=1 expandedRowIdx=2 x1Optional=5 x2Optional=6 biasOptional=7 scalesOptional=3 \
         expertIdxOptional=8 dropPadMode=2 out=4"
    );
    let permute = MoeTokenPermute {
        tokens: &expanded,
        indices: &row,
        permuted: &scales,
        sorted_indices: &out,
        out_tokens: 5,
        padded: true,
    };
    assert_eq!(
        bench.passed(|context| permute.prepare(context)),
        "aclnnMoeTokenPermute tokens=1 indices=2 numOutTokens=5 paddedMode=1 permuteTokensOut=3 sortedIndicesOut=4"
    );
    let shape = IntArray::new(&bench.context, &[9]).unwrap();
    let unpermute = MoeTokenUnpermute {
        permuted: &expanded,
        sorted_indices: &row,
        out: &out,
        probs: Some(&scales),
        padded: true,
        restore_shape: Some(&shape),
    };
    assert_eq!(
        bench.passed(|context| unpermute.prepare(context)),
        "aclnnMoeTokenUnpermute permutedTokens=1 sortedIndices=2 probsOptional=3 paddedMode=1 \
         restoreShapeOptional=ints:9 out=4"
    );
}

#[test]
fn layouts() {
    let bench = Bench::new(|_| true);
    let (source, destination) = (bench.tensor(1), bench.tensor(2));
    let storage = storage_for(&bench.context, &source, Format::FRACTAL_NZ, DataType::Float4E2m1).unwrap();
    assert_eq!((storage.dims.as_slice(), storage.format), (&[2, 3, 16, 64][..], Format::FRACTAL_NZ));
    let cast = FormatCast { source: &source, destination: &destination };
    assert_eq!(bench.passed(|context| cast.prepare(context)), "aclnnNpuFormatCast srcTensor=1 dstTensor=2");
}
