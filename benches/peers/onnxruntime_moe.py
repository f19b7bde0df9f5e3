"""Layers of experts with MXFP4 weights by ONNX Runtime's QMoE on the CPU, whose activations are float32.

    onnxruntime_moe.py moe THREADS SECONDS wall|thread TOKENS...

Prints a line of JSON for each number of tokens: {"work": "moe", "rows": 8, "seconds": 0.0053}, the median of what was
measured in so many seconds; by the clock on the wall, or by the time that the only thread had a processor. A layer is hidden 4096, inner 2048, 32 experts, 6 for a token, drawn anew for each run.
"""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

HIDDEN, INNER, EXPERTS, TOP_K = 4096, 2048, 32, 6
CLOCKS = {"wall": time.perf_counter, "thread": time.thread_time}


def layer(threads, random):
    """A session of one node, with random codes and scales."""

    def constant(name, dtype, values):
        return helper.make_tensor(name, dtype, values.shape, values.tobytes(), raw=True)

    def codes(name, n, k):
        values = random.integers(0, 256, (EXPERTS, n, k // 2), dtype=np.uint8)
        return constant(name, TensorProto.UINT8, values)

    def scales(name, n, k):
        values = random.integers(117, 120, (EXPERTS, n, k // 32), dtype=np.uint8)
        return constant(name, TensorProto.FLOAT8E8M0, values)

    ones = np.ones(EXPERTS, np.float32)
    constants = [
        codes("gate_up", 2 * INNER, HIDDEN),
        scales("gate_up_scales", 2 * INNER, HIDDEN),
        codes("down", HIDDEN, INNER),
        scales("down_scales", HIDDEN, INNER),
        constant("gate_up_factors", TensorProto.FLOAT, ones),
        constant("down_factors", TensorProto.FLOAT, ones),
    ]
    inputs = ["x", "logits", "gate_up", "gate_up_scales", "", "down", "down_scales"]
    inputs += [""] * 8 + ["gate_up_factors", "down_factors"]
    node = helper.make_node(
        "QMoE",
        inputs,
        ["y"],
        domain="com.microsoft",
        k=TOP_K,
        activation_type="swiglu",
        activation_alpha=1.0,
        activation_beta=0.0,
        swiglu_fusion=1,
        normalize_routing_weights=1,
        quant_type="fp4",
        expert_weight_bits=4,
        block_size=32,
        # Without it the CPU's kernel refuses MXFP4.
        weights_prepacked=1,
    )

    def value(name, columns):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["tokens", columns])

    graph = helper.make_graph(
        [node], "layer", [value("x", HIDDEN), value("logits", EXPERTS)], [value("y", HIDDEN)], constants
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main():
    if len(sys.argv) < 6 or sys.argv[1] != "moe" or sys.argv[4] not in CLOCKS:
        sys.exit("usage: onnxruntime_moe.py moe THREADS SECONDS wall|thread TOKENS...")
    clock = CLOCKS[sys.argv[4]]
    random = np.random.default_rng(0)
    session = layer(int(sys.argv[2]), random)
    for tokens in map(int, sys.argv[5:]):
        x = random.standard_normal((tokens, HIDDEN)).astype(np.float32)

        def run():
            logits = random.standard_normal((tokens, EXPERTS)).astype(np.float32)
            start = clock()
            session.run(None, {"x": x, "logits": logits})
            return clock() - start

        run()
        samples, begin = [], time.perf_counter()
        while len(samples) < 3 or time.perf_counter() - begin < float(sys.argv[3]):
            samples.append(run())
        print(json.dumps({"work": "moe", "rows": tokens, "seconds": statistics.median(samples)}), flush=True)


if __name__ == "__main__":
    main()
