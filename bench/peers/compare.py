#!/usr/bin/env python3
"""Times mininn's networks beside ONNX Runtime, OpenVINO and, in fp32 and where it is installed, PyTorch: the same network, the
same threads, taking turns in one run.

    scripts/setup --peers
    .venv/bin/python bench/peers/compare.py --int8 results/resnet18_int8.safetensors --model results/resnet18.safetensors

An int8 file describes its network, so its ONNX twin is made from the file alone: u8 activations and s8 weights per output
channel with the same codes, scales and zero points, written as QuantizeLinear and DequantizeLinear around float ops. Three
things have no such form and are made as those programs' own quantizers make them:
 - the stem, into which mininn folds the normalisation of the image, takes normalised pixels as u8 codes;
 - ONNX Runtime needs a grid between a convolution and the addition behind it (mininn and OpenVINO add before they round);
 - the average pool's result has a grid (mininn hands exact sums to the classifier).
These grids cover what the check images produce. The fp32 twin has batch norm folded, as all programs do.

Without VNNI both programs multiply u8 by s8 with vpmaddubsw, whose 16-bit sums overflow: their logits are then further off
than the twin's own, computed in float. "ORT, no overflow" is ONNX Runtime with session.x64quantprecision=1, which recodes
the weights to u8 and is right everywhere; mininn always is.
"""

import argparse
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")  # compiled networks pack their weights once
try:
    import torch
except ImportError:
    torch = None

ROOT = Path(__file__).resolve().parents[2]
BATCH_NORM_EPSILON = 1e-5
CLIPPED = 0.01  # percent of a value's elements beyond either end of its measured grid
SECONDS_PER_TURN = 0.05
PAUSE = 0.02  # seconds between turns: worker threads spin for a moment after their work, and would disturb the next one
DTYPES = {"F32": np.float32, "I32": np.int32, "I64": np.int64, "I8": np.int8, "U8": np.uint8}


def read_safetensors(path):
    """(metadata, {name: array})"""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        arrays[name] = np.frombuffer(data[8 + size + begin : 8 + size + end], DTYPES[t["dtype"]]).reshape(t["shape"])
    return metadata, arrays


def affine_u8(low, high):
    """Scale and zero point of the u8 grid over [low, high] and zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return np.float32(scale), int(np.clip(round(-low / scale), 0, 255))


class Network:
    """The int8 file's content."""

    def __init__(self, path):
        metadata, self.tensors = read_safetensors(path)
        if metadata.get("format") != "mininn.int8":
            sys.exit(f"compare.py: {path} is no int8 file of mininn")
        if metadata.get("format_version") != "2":
            sys.exit(f"compare.py: {path} is of an older version: make it again with cifar_resnet ptq")
        net = json.loads(metadata["network"])
        self.normalization = net["normalization"]
        if self.normalization is None:
            sys.exit(f"compare.py: {path} does not take image bytes")
        self.read_graph(json.loads(metadata["graph"]), net["layers"])
        self.mean = np.array(self.normalization["mean"])[None, :, None, None]
        self.std = np.array(self.normalization["std"])[None, :, None, None]
        low, high = (0 - self.mean) / self.std, (1 - self.mean) / self.std
        self.input_grid = affine_u8(low.min(), high.max())

    def read_graph(self, graph, layers):
        """Sets image, input (the value that holds its codes), output, steps (nodes, inputs that are constants left out)
        and grids: scale and zero point of each value of codes."""
        kinds = {"qconv2d": "conv", "qmax_pool2d": "max_pool", "qglobal_sum": "global_sum", "qlinear": "linear",
                 "reshape": "flatten", "flatten": "flatten"}
        self.image = graph["inputs"][0]["shape"][1:]
        (self.output,) = graph["outputs"]
        self.steps, self.grids = [], {}
        constants = range(len(graph["inputs"]), len(graph["inputs"]) + len(graph["constants"]))
        for number, (node, layer) in enumerate(zip(graph["nodes"], layers), constants.stop):
            inputs = [i for i in node["inputs"] if i >= 0 and i not in constants]
            attributes = node["attrs"]
            if node["op"] == "qpack":
                self.input, self.grids[number] = number, (1.0, 0)
            elif node["op"] in kinds:
                self.steps.append({"name": node["name"], "kind": kinds[node["op"]], "op": layer.get("op", ""),
                                   "inputs": inputs, "output": number, **attributes})
                # Maxima and sums are on the grid of their operands. A scale of 0: real numbers, which have no grid.
                scale = attributes.get("scale")
                self.grids[number] = (self.grids[inputs[0]] if scale is None else
                                      (scale, attributes["zero_point"]) if scale else None)
            else:
                sys.exit(f"compare.py: no twin is known for op {node['op']}")

    def normalize(self, images):
        return ((images / 255 - self.mean) / self.std).astype(np.float32)

    def codes(self, images):
        scale, zero = self.input_grid
        return np.clip(np.rint(self.normalize(images) / scale) + zero, 0, 255).astype(np.uint8)

    def stem(self, step):
        """(s8 weights, their scales, i32 bias) for codes of normalised pixels."""
        q = self.tensors[step["name"] + ".weight"].astype(np.float64)
        unit = self.tensors[step["name"] + ".weight_scale"].astype(np.float64) * self.grids[self.input][0]
        bias = self.tensors[step["name"] + ".bias"].astype(np.float64)
        # One bias per combination of taps that fall on padding: three for rows times three for columns where the kernel
        # reaches over both borders. Where none does, all of the mean is in it.
        classes = math.isqrt(len(bias))
        if classes not in (1, 3) or classes * classes != len(bias):
            sys.exit(f"compare.py: {step['name']}: {len(bias)} border classes are not understood")
        inside = bias[len(bias) // 2]
        weight = unit[:, None, None, None] * q * 255 * self.std
        offset = 255 * self.mean - self.grids[self.input][1]
        real_bias = unit * (inside + (q * offset).sum(axis=(1, 2, 3)))
        scale = np.abs(weight).max(axis=(1, 2, 3)) / 127
        codes = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
        return codes, scale.astype(np.float32), np.rint(real_bias / (scale * self.input_grid[0])).astype(np.int32)


class Builder:
    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        out = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], out, **attributes))
        return out

    def grid(self, scale, zero):
        return self.constant(np.float32(scale)), self.constant(np.uint8(zero))

    def dequantize(self, x, scale, zero):
        return self.op("DequantizeLinear", x, *self.grid(scale, zero))

    def requantize(self, x, scale, zero):
        grid = self.grid(scale, zero)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *grid), *grid)

    def weights(self, codes, scale):
        zero = np.zeros(len(scale), codes.dtype)
        return self.op("DequantizeLinear", self.constant(codes), self.constant(scale), self.constant(zero), axis=0)

    def conv(self, step, x, weight, bias):
        h, w = step["padding"]
        return self.op("Conv", x, weight, bias, strides=step["stride"], pads=[h, w, h, w],
                       dilations=step["dilation"], group=step["groups"])

    def max_pool(self, step, x):
        h, w = step["padding"]
        return self.op("MaxPool", x, kernel_shape=step["kernel"], strides=step["stride"], pads=[h, w, h, w])

    def activation(self, step, x, codes_follow=False):
        # Where codes end at 6 or below, as after calibration they do, the grid is the upper bound: ONNX Runtime keeps a
        # convolution with a Clip behind it in float.
        if "relu6" in step["op"] and not (codes_follow and step["hi"] == 255):
            return self.op("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))
        return self.op("Relu", x) if "relu" in step["op"] else x

    def model(self, batch, image, dtype, outputs):
        x = helper.make_tensor_value_info("x", dtype, [batch, *image])
        ys = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in outputs]
        graph = helper.make_graph(self.nodes, "mininn", [x], ys, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return model.SerializeToString()


def int8_twin(net, batch, grids=None, grids_before_add=True):
    """ONNX bytes. Without `grids` the values that need one are extra outputs, named in the second result."""
    b = Builder()
    value = {net.input: b.dequantize("x", *net.input_grid)}
    open_grids = {}  # step -> value

    def own_grid(name, x):
        if grids is None:
            open_grids[name] = x
            return x
        return b.requantize(x, *grids[name])

    for step in net.steps:
        name, x = step["name"], step["inputs"][0]
        tensor = lambda what: net.tensors[f"{name}.{what}"]
        if step["kind"] == "conv":
            if x == net.input:
                codes, scale, bias = net.stem(step)
                x_scale = net.input_grid[0]
            else:
                codes, scale, bias = tensor("weight"), tensor("weight_scale"), tensor("bias")[0]
                x_scale = net.grids[x][0]
            y = b.conv(step, value[x], b.weights(codes, scale), b.weights(bias, (scale * x_scale).astype(np.float32)))
            if len(step["inputs"]) == 2:
                if grids_before_add:
                    y = own_grid(name, y)
                y = b.op("Add", y, value[step["inputs"][1]])
            y = b.activation(step, y, codes_follow=True)
            grid = net.grids[step["output"]]
            value[step["output"]] = b.requantize(y, *grid) if grid else y
        elif step["kind"] == "max_pool":
            value[step["output"]] = b.requantize(b.max_pool(step, value[x]), *net.grids[step["output"]])
        elif step["kind"] == "flatten":
            value[step["output"]] = b.op("Flatten", value[x])
        elif step["kind"] == "global_sum":
            y = own_grid(name, b.op("GlobalAveragePool", value[x]))
            value[step["output"]] = b.op("Flatten", y)
        else:
            x_scale, zero = net.grids[x]
            if zero != 0:
                sys.exit(f"compare.py: {name}: a classifier behind a zero point is not understood")
            unit = tensor("weight_scale") * np.float32(x_scale / step["pixels"])
            weight = b.weights(tensor("weight"), tensor("weight_scale"))
            bias = b.constant((tensor("bias") * unit).astype(np.float32))
            value[step["output"]] = b.op("Gemm", value[x], weight, bias, transB=1)
    outputs = [value[net.output], *open_grids.values()]
    return b.model(batch, net.image, TensorProto.UINT8, outputs), list(open_grids)


def run_in_float(model, x):
    """Every output of an ONNX model as it is written: each quantized value is rounded, everything between is float."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def measured_grids(net, codes):
    """The u8 grids over what `codes` [N,C,H,W] produce where mininn needs none."""
    model, names = int8_twin(net, len(codes))
    values = run_in_float(model, codes)[1:]
    return {name: affine_u8(*np.percentile(v, [CLIPPED, 100 - CLIPPED])) for name, v in zip(names, values)}


def folded(net, parameters, step):
    """Weight and bias of a convolution with its batch norm, or of the classifier, which has none."""
    name = step["name"]
    weight = parameters[name + ".weight"].astype(np.float64).reshape(net.tensors[name + ".weight"].shape)
    bias = parameters.get(name + ".bias", np.zeros(len(weight))).astype(np.float64)
    # "layer1.0.conv2" is followed by "layer1.0.bn2", "features.0" and "downsample.0" by a number that is one more.
    head, _, last = name.rpartition(".")
    follower = last.replace("conv", "bn") if "conv" in last else str(int(last) + 1) if last.isdigit() else ""
    norm = f"{head}.{follower}".lstrip(".")
    if norm + ".running_mean" in parameters:
        gamma, beta, mean, var = (parameters[f"{norm}.{k}"].astype(np.float64)
                                  for k in ("weight", "bias", "running_mean", "running_var"))
        factor = gamma / np.sqrt(var + BATCH_NORM_EPSILON)
        weight, bias = weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), beta + (bias - mean) * factor
    return weight.astype(np.float32), bias.astype(np.float32)


def fp32_twin(net, parameters, batch):
    b = Builder()
    value = {net.input: "x"}
    for step in net.steps:
        x = step["inputs"][0]
        if step["kind"] == "conv":
            y = b.conv(step, value[x], *map(b.constant, folded(net, parameters, step)))
            if len(step["inputs"]) == 2:
                y = b.op("Add", y, value[step["inputs"][1]])
            y = b.activation(step, y)
        elif step["kind"] == "max_pool":
            y = b.max_pool(step, value[x])
        elif step["kind"] == "flatten":
            y = b.op("Flatten", value[x])
        elif step["kind"] == "global_sum":
            y = b.op("Flatten", b.op("GlobalAveragePool", value[x]))
        else:
            y = b.op("Gemm", value[x], *map(b.constant, folded(net, parameters, step)), transB=1)
        value[step["output"]] = y
    return b.model(batch, net.image, TensorProto.FLOAT, [value[net.output]])


# --- the programs: run(x) gives logits, turn(repeats) the milliseconds of each call after one that does not count ----


class Peer:
    def turn(self, repeats):
        self.call()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.call()
            times.append(1e3 * (time.perf_counter() - start))
        return times


class OnnxRuntime(Peer):
    def __init__(self, model, x, threads, no_overflow=False):
        self.name = "ORT, no overflow" if no_overflow else "ONNX Runtime"
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", "1" if no_overflow else "0")
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
            self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            kinds = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
        self.convolutions = {k: kinds.count(k) for k in sorted(set(kinds)) if "Conv" in k}
        self.output = self.session.get_outputs()[0].name
        self.bind(x)

    def bind(self, x):
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        self.binding.bind_output(self.output)

    def call(self):
        self.session.run_with_iobinding(self.binding)

    def run(self, x):
        return self.session.run(None, {"x": x})[0]


class OpenVino(Peer):
    name = "OpenVINO"

    def __init__(self, model, x, threads):
        core = ov.Core()
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(model, b""), "CPU", options)
        self.convolutions = {}
        for op in compiled.get_runtime_model().get_ops():
            info = op.get_rt_info()
            if info["layerType"].astype(str) == "Convolution":
                kind = info["runtimePrecision"].astype(str)
                self.convolutions[kind] = self.convolutions.get(kind, 0) + 1
        self.request = compiled.create_infer_request()
        self.request.set_input_tensor(ov.Tensor(x.copy()))

    def call(self):
        self.request.infer()

    def run(self, x):
        return self.request.infer({0: x})[0].copy()


def torch_twin(net, parameters):
    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for i, step in enumerate(net.steps):
                if step["kind"] in ("conv", "linear"):
                    for what, values in zip("wb", folded(net, parameters, step)):
                        self.register_buffer(f"{what}{i}", torch.from_numpy(values))

        def forward(self, x):
            value = {net.input: x}
            for i, step in enumerate(net.steps):
                x, kind = value[step["inputs"][0]], step["kind"]
                if kind == "conv":
                    y = torch.nn.functional.conv2d(x, getattr(self, f"w{i}"), getattr(self, f"b{i}"), step["stride"],
                                                   step["padding"], step["dilation"], step["groups"])
                    if len(step["inputs"]) == 2:
                        y = y + value[step["inputs"][1]]
                    if "relu" in step["op"]:
                        y = torch.nn.functional.relu6(y) if "relu6" in step["op"] else torch.relu(y)
                elif kind == "max_pool":
                    y = torch.nn.functional.max_pool2d(x, step["kernel"], step["stride"], step["padding"])
                elif kind == "flatten":
                    y = x.flatten(1)
                elif kind == "global_sum":
                    y = x.mean((2, 3))
                else:
                    y = torch.nn.functional.linear(x, getattr(self, f"w{i}"), getattr(self, f"b{i}"))
                value[step["output"]] = y
            return value[net.output]

    return Twin().eval().to(memory_format=torch.channels_last)


class PyTorch(Peer):
    convolutions = {}

    def __init__(self, net, parameters, x, threads, compiled):
        self.name = "PyTorch compiled" if compiled else "PyTorch"
        torch.set_num_threads(threads)
        twin = torch_twin(net, parameters)
        self.model = torch.compile(twin) if compiled else twin
        self.images = self.tensor(x)

    @staticmethod
    def tensor(x):
        return torch.from_numpy(x).to(memory_format=torch.channels_last)

    def call(self):
        with torch.no_grad():
            return self.model(self.images)

    def run(self, x):
        with torch.no_grad():
            return self.model(self.tensor(x)).numpy()


class Server:
    """bench_net --serve"""

    def __init__(self, program, net, model, threads):
        command = [program, "--serve", "--threads", str(threads), "--int8", net]
        if model:
            command += ["--model", model]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or answer.startswith("error:"):
            raise RuntimeError(f"bench_net: {answer.strip() or 'ended'} ({request})")
        return [float(v) for v in answer.split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    name = "mininn"

    def __init__(self, server, net, batch):
        self.server, self.net, self.batch = server, net, batch

    def turn(self, repeats):
        return self.server.ask(f"time {self.net} {self.batch} {repeats}")


def interleaved(candidates, seconds):
    """Milliseconds of each candidate's calls; they take turns until each has had about `seconds`."""
    repeats = [max(1, math.ceil(SECONDS_PER_TURN * 1e3 / statistics.median(c.turn(3)))) for c in candidates]
    times = [[] for _ in candidates]
    end = time.perf_counter() + seconds * len(candidates)
    while len(times[0]) < 5 or time.perf_counter() < end:
        for i, candidate in enumerate(candidates):
            time.sleep(PAUSE)
            times[i] += candidate.turn(repeats[i])
    return times


def quantile(times, q):
    """As cifar_resnet bench has it: one of the times."""
    return float(np.sort(times)[min(int(q * len(times)), len(times) - 1)])


def check_images(image, folder, n):
    """(u8 images [n,C,H,W], labels or None, what they are)"""
    places = [folder] if folder else [ROOT / "data/cifar-10-batches-bin", os.environ.get("CIFAR10_DIR"),
                                      ROOT / "../shared/data/cifar-10-batches-bin"]
    for place in places:
        file = Path(place or "nowhere") / "test_batch.bin"
        if image == [3, 32, 32] and file.exists():
            records = np.fromfile(file, np.uint8).reshape(-1, 3073)[:n]
            return records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0], "CIFAR-10 test images"
    if folder:
        sys.exit(f"compare.py: {folder} has no test_batch.bin")
    return np.random.default_rng(1).integers(0, 256, (n, *image), np.uint8), None, "random images"


def logits_of(candidate, x, batch):
    return np.concatenate([candidate.run(x[i : i + batch]) for i in range(0, len(x), batch)])


def compare_logits(name, logits, ours, labels):
    same = np.mean(logits.argmax(1) == ours.argmax(1))
    difference = np.sqrt(np.mean((logits - ours) ** 2) / np.mean(ours**2))
    accuracy = "" if labels is None else f", accuracy {100 * np.mean(logits.argmax(1) == labels[: len(logits)]):.2f}%"
    print(f"  {name:39} labels agree {100 * same:6.2f}%, logits differ by {100 * difference:6.2f}% (rms){accuracy}")


def main():
    parser = argparse.ArgumentParser(description="mininn beside ONNX Runtime, OpenVINO and PyTorch")
    parser.add_argument("--int8", required=True, help="an int8 file")
    parser.add_argument("--model", help="the fp32 file it was made from: also compares fp32")
    parser.add_argument("--program", default=ROOT / "build/bench/bench_net", help="[%(default)s]")
    parser.add_argument("--batch", default="1,8,32,128", help="batch sizes [%(default)s]")
    parser.add_argument("--threads", default="1,2", help="numbers of threads [%(default)s]")
    parser.add_argument("--seconds", type=float, default=5, help="per program and row [%(default)s]")
    parser.add_argument("--images", help="folder with CIFAR-10's test_batch.bin [the usual places, else random images]")
    parser.add_argument("--check", type=int, default=1024, help="images to compare labels on [%(default)s]")
    parser.add_argument("--json", help="also write the rows to this file")
    o = parser.parse_args()
    batches, thread_counts = ([int(v) for v in text.split(",")] for text in (o.batch, o.threads))

    net = Network(o.int8)
    parameters = read_safetensors(o.model)[1] if o.model else None
    images, labels, what = check_images(net.image, o.images, max(o.check, *batches))
    grids = measured_grids(net, net.codes(images[:128]))
    versions = {"onnxruntime": ort.__version__, "openvino": ov.__version__.split("-")[0]}
    if torch:
        versions["torch"] = torch.__version__
    print(", ".join(f"{k} {v}" for k, v in versions.items()), f"; load average {os.getloadavg()[0]:.1f}")

    def candidates(server, kind, batch, threads):
        """[(name in the table, candidate)], ours first"""
        ours = Ours(server, kind, batch)
        if kind == "fp32":
            x, model = net.normalize(images[:batch]), fp32_twin(net, parameters, batch)
            peers = [OnnxRuntime(model, x, threads), OpenVino(model, x, threads)]
            if torch:
                peers += [PyTorch(net, parameters, x, threads, compiled) for compiled in (False, True)]
            return [ours, *peers]
        x = net.codes(images[:batch])
        model = int8_twin(net, batch, grids)[0]
        return [ours, OnnxRuntime(model, x, threads), OnnxRuntime(model, x, threads, no_overflow=True),
                OpenVino(int8_twin(net, batch, grids, grids_before_add=False)[0], x, threads)]

    rows = []
    for threads in thread_counts:
        server = Server(o.program, o.int8, o.model, threads)
        kinds = ["int8", "fp32"] if o.model else ["int8"]
        if threads == thread_counts[0]:
            batch = max(batches)
            n = max(len(images[: o.check]) // batch, 1) * batch
            with tempfile.NamedTemporaryFile() as file:
                file.write(images[:n].tobytes())
                file.flush()
                ours = {k: np.array(server.ask(f"logits {k} {file.name}")).reshape(n, -1) for k in kinds}
            print(f"\n{n} {what}, beside mininn's network of the same kind:")
            for kind in kinds:
                x = net.codes(images[:n]) if kind == "int8" else net.normalize(images[:n])
                compare_logits(f"{kind} mininn", ours[kind], ours[kind], labels)
                if kind == "int8":
                    for text, before_add in (("twin for ONNX Runtime", True), ("twin for OpenVINO", False)):
                        logits = run_in_float(int8_twin(net, n, grids, before_add)[0], x)[0]
                        compare_logits(f"int8 {text}, in float", logits, ours[kind], labels)
                for peer in candidates(server, kind, batch, threads)[1:]:
                    compare_logits(f"{kind} {peer.name}", logits_of(peer, x, batch), ours[kind], labels)
                    if peer.convolutions:
                        print(f"  {'':39} its convolutions: {peer.convolutions}")
            print(f"\n{'net':4} {'batch':>5} {'threads':>7}  {'program':16} {'ms/image':>9} {'least':>8} {'p50 ms':>8} "
                  f"{'p95 ms':>8} {'p99 ms':>8}  peer/mininn")
        for kind in kinds:
            for batch in batches:
                programs = candidates(server, kind, batch, threads)
                times = interleaved(programs, o.seconds)
                ours = quantile(times[0], 0.5)
                for program, t in zip(programs, times):
                    p50, p95, p99 = (quantile(t, q) for q in (0.5, 0.95, 0.99))
                    shown = "" if program is programs[0] else f" {p50 / ours:11.2f}x"
                    print(f"{kind:4} {batch:5} {threads:7}  {program.name:16} {p50 / batch:9.4f} {min(t) / batch:8.4f} "
                          f"{p50:8.3f} {p95:8.3f} {p99:8.3f}{shown}")
                    rows.append({"net": kind, "batch": batch, "threads": threads, "program": program.name,
                                 "ms_per_image": p50 / batch, "ms_per_image_min": min(t) / batch, "p50": p50,
                                 "p95": p95, "p99": p99, "calls": len(t), "images_per_s": 1000 * batch / p50,
                                 "times_mininn": p50 / ours})
                sys.stdout.flush()
        server.close()
    if o.json:
        Path(o.json).write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
