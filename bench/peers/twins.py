"""The twins of mininn's networks in other programs: ONNX models of its int8 and fp32 files, and PyTorch modules.

An int8 file describes its network, so its ONNX twin is made from the file alone: u8 activations and s8 weights per output
channel with the same codes, scales and zero points, written as QuantizeLinear and DequantizeLinear around float ops. Three
things have no such form and are made as those programs' own quantizers make them:
 - the stem, into which mininn folds the normalisation of the image, takes normalised pixels as u8 codes;
 - ONNX Runtime needs a grid between a convolution and the addition behind it (mininn and OpenVINO add before they round);
 - the average pool's result has a grid (mininn hands exact sums to the classifier).
These grids cover what the check images produce. The fp32 twin has batch norm folded, as all programs do.
"""

import json
import math
import os
import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")  # compiled networks pack their weights once
try:
    import torch
except ImportError:
    torch = None

BATCH_NORM_EPSILON = 1e-5
CLIPPED = 0.01  # percent of a value's elements beyond either end of its measured grid
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


def folded(net, parameters, name):
    """Weight and bias of a convolution with its batch norm, or of the classifier, which has none."""
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


def folded_layers(net, parameters):
    """{name: (weight, bias)} for the fp32 twins"""
    return {s["name"]: folded(net, parameters, s["name"]) for s in net.steps if s["kind"] in ("conv", "linear")}


def fp32_twin(net, layers, batch):
    b = Builder()
    value = {net.input: "x"}
    for step in net.steps:
        x = step["inputs"][0]
        if step["kind"] == "conv":
            y = b.conv(step, value[x], *map(b.constant, layers[step["name"]]))
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
            y = b.op("Gemm", value[x], *map(b.constant, layers[step["name"]]), transB=1)
        value[step["output"]] = y
    return b.model(batch, net.image, TensorProto.FLOAT, [value[net.output]])


def torch_twin(net, layers):
    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for i, step in enumerate(net.steps):
                for what, values in zip("wb", layers.get(step["name"], ())):
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
