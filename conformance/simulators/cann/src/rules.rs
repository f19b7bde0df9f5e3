//! The rules that a caller of CANN must keep, in one table.
//!
//! A message names the rule by its id in brackets, then the function and the argument, what was seen and what
//! was expected. The source says where the rule is documented; `chosen` marks what the documents leave open and the
//! simulator decides strictly, so that only hardware can say whether it is as strict.

/// A documented constraint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    /// The constraint, as one sentence without a full stop.
    pub(crate) text: &'static str,
    /// The interface's document, or `chosen`.
    pub(crate) source: &'static str,
}

macro_rules! rules {
    ($($name:ident $id:literal $text:literal $source:literal;)*) => {
        $(pub(crate) const $name: &Rule = &Rule { id: $id, text: $text, source: $source };)*
        /// Every rule.
        #[cfg(test)]
        const ALL: &[&Rule] = &[$($name),*];
    };
}

rules! {
    INITIALISED "initialised" "aclInit comes before everything else" "runtime API reference, aclInit";
    INIT_ONCE "init-once" "aclInit is called once until aclFinalize" "acl error codes";
    CONFIGURATION "simulator-configuration" "the simulator's environment variables say something it understands" "simulator";
    DEMANDED "failure-on-demand" "MXHAL_SIM_FAIL asked for this failure" "simulator";
    INTERNAL "simulator-defect" "the simulator does not panic" "simulator";
    NULL "null-argument" "an argument that is not optional is not null" "aclnn error codes";
    ABSENT "unused-argument" "an argument that the operator does not use here is null" "ops-nn and ops-transformer documents";
    PARAMETER "parameter-range" "a parameter lies in its documented range" "operator documents";
    HANDLE "live-handle" "a handle is what the matching create function gave, and is not destroyed yet" "runtime API reference";
    DEVICE "device-exists" "a device number is below the count of devices" "runtime API reference";
    CONTEXT "current-context" "the calling thread has a current context (aclrtSetDevice or aclrtSetCurrentContext)" "runtime API reference";
    STREAM_CONTEXT "stream-context" "a stream is used under the context that it was created in" "acl error codes";
    EVENT_CONTEXT "event-context" "an event is used under the context that it was created in" "acl error codes";
    EVENT_RECORDED "event-recorded" "an event is recorded before it is waited for or measured" "chosen";
    STREAM_TIMEOUT "synchronise-timeout" "the work ends within the time given" "acl error codes";
    DEVICE_MEMORY "device-memory" "the address lies in device memory of aclrtMalloc, not in the host's" "runtime API reference";
    HOST_MEMORY "host-memory" "the address lies in the host's memory, not in the device's" "runtime API reference";
    USE_AFTER_FREE "use-after-free" "device memory is not used after aclrtFree" "runtime API reference";
    BOUNDS "allocation-bounds" "an access ends within the allocation that it starts in" "runtime API reference";
    OTHER_DEVICE "memory-of-the-device" "work of a device touches memory of that device" "runtime API reference";
    FREE_IN_USE "free-while-in-use" "memory is freed after the work that uses it has ended" "chosen";
    OUT_OF_MEMORY "out-of-memory" "allocations fit into the memory of the device" "acl error codes";
    COPY_SIZE "copy-size" "a copy of count bytes fits into destMax, and a row into its pitch" "runtime API reference";
    COPY_KIND "copy-kind" "the kind of a copy agrees with its two addresses" "chosen";
    LEAK "leak" "what was created is destroyed before aclrtResetDevice and aclFinalize" "runtime API reference";
    MEMORY_TYPE "malloc-policy" "an allocation policy is one of the documented values" "runtime API reference";
    KERNEL "kernel" "a kernel is an exported function of its binary" "simulator";
    KERNEL_FAULT "kernel-fault" "a kernel keeps to its arguments' memory and to the rules of a vector core" "AscendC interface reference, as kernels-ascend/shim has it";

    TENSOR_SHAPE "tensor-description" "shape, strides, offset and storage shape of aclCreateTensor describe elements within the storage" "acl_meta";
    ALIGNMENT "tensor-alignment" "tensorData is aligned to 32 bytes" "acl_meta";
    OWNED_BY_LIST "tensor-owned-by-list" "aclDestroyTensorList destroys the tensors in the list as well" "acl_meta";
    IN_LIST "tensor-in-a-list" "a tensor that a list owns is destroyed with the list" "acl_meta";
    TENSOR_LIVES "tensor-outlives-executor" "a tensor lives until the second phase has been called" "chosen";
    EXECUTOR_ONCE "executor-once" "an executor runs once, unless it was made repeatable" "aclnn two-phase interface";
    EXECUTOR_MATCH "executor-of-the-operator" "the second phase gets the executor of its own first phase" "aclnn two-phase interface";
    EXECUTOR_REPEATABLE "executor-repeatable" "only a repeatable executor is destroyed by its caller or gets other addresses" "aclnn two-phase interface";
    WORKSPACE "workspace-size" "the workspace is device memory of at least the size that the first phase asked for" "aclnn two-phase interface";
    PLATFORM "platform" "the operator is offered on this SoC" "operator documents, table of products";

    DTYPE "dtype-combination" "element types are one of the documented combinations" "operator documents";
    FORMAT "format" "a tensor's format is the documented one" "operator documents";
    RANK "rank" "a tensor has one of the documented numbers of dimensions" "operator documents";
    SHAPE "shape" "a tensor has the documented shape" "operator documents";
    FP4_ELEMENTS "fp4-counts-elements" "shapes and strides of FP4 tensors count elements, not bytes" "aclnn quantisation examples";
    EVEN "fp4-even" "the inner dimension of an FP4 tensor is even" "operator documents";
    INNER_TWO "fp4-inner-above-two" "K of an FP4 product is greater than 2" "operator documents";
    K_EIGHT "w4a8-k-of-eight" "K of an E4M3 by FP4 product is a multiple of 8" "aclnnQuantMatmulV5";
    SCALE_PAIRS "scale-pairs" "block scales come as pairs: ceil(K/64) by 2" "operator documents";
    STRIDES "strides" "strides are those of a contiguous tensor, or of its transposition where that is documented" "operator documents";
    TRANSPOSITION "scale-transposition" "scales are transposed exactly when their matrix is" "grouped matmul, checker for Ascend 950";
    STORAGE_NZ "nz-storage" "a FRACTAL_NZ tensor has the storage shape of aclnnNpuFormatCastCalculateSizeAndFormat" "aclnnNpuFormatCast";
    GROUP_SIZE "group-size" "groupSize is 0 or [1, 1, 32] packed, 4295032864" "aclnnQuantMatmulV5";
    LIST_LENGTH "list-length" "a tensor list has the documented length" "aclnnGroupedMatmulV5";
    GROUP_LIST "group-list" "the group list is a contiguous INT64 tensor of one entry a group, or of pairs" "aclnnGroupedMatmulV5";
    GROUP_VALUES "group-list-values" "groups are not negative, not decreasing when cumulative, and end within the rows" "aclnnGroupedMatmulV5";
    ROUND_MODE "round-mode" "the rounding mode is one that the destination type offers" "aclnnDynamicMxQuant";
    SCALE_ALGORITHM "scale-algorithm" "scaleAlg is one that the destination type offers" "aclnnDynamicMxQuant";
    BLOCK_SIZE "block-size" "blocksize is a multiple of 32 up to 1024, and 32 for FP32" "aclnnDynamicMxQuant";
    EXPERT_RANGE "expert-ids" "expert ids lie in [0, expertNum)" "aclnnMoeInitRoutingV3";
    ROW_INDEX "row-index" "row indices lie within the expanded rows" "aclnnMoeFinalizeRoutingV2";
    NOT_SIMULATED "not-simulated" "the simulator carries the case" "simulator";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn ids_are_unique_and_speak() {
        for (i, rule) in ALL.iter().enumerate() {
            assert!(ALL[..i].iter().all(|other| other.id != rule.id), "{} twice", rule.id);
            assert!(
                rule.id
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            );
            assert!(!rule.text.ends_with('.') && !rule.source.is_empty(), "{}", rule.id);
        }
    }
}
