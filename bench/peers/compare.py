#!/usr/bin/env python3
"""Times mininn's networks beside ONNX Runtime, OpenVINO and, in fp32 and where it is installed, PyTorch: the same network
(twins.py), the same threads, taking turns in one run.

    scripts/setup --peers
    .venv/bin/python bench/peers/compare.py --int8 results/resnet18_int8.safetensors --model results/resnet18.safetensors

Without VNNI ONNX Runtime and OpenVINO multiply u8 by s8 with vpmaddubsw, whose 16-bit sums overflow: their logits are then further off
than the twin's own, computed in float. "ORT, no overflow" is ONNX Runtime with session.x64quantprecision=1, which recodes
the weights to u8 and is right everywhere; mininn always is.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov

from twins import (Network, folded_layers, fp32_twin, int8_twin, measured_grids, read_safetensors, run_in_float, torch,
                   torch_twin)

ROOT = Path(__file__).resolve().parents[2]
SECONDS_PER_TURN = 0.05
PAUSE = 0.02  # seconds between turns: worker threads spin for a moment after their work, and would disturb the next one


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


class PyTorch(Peer):
    convolutions = {}

    def __init__(self, net, layers, x, threads, compiled):
        self.name = "PyTorch compiled" if compiled else "PyTorch"
        torch.set_num_threads(threads)
        twin = torch_twin(net, layers)
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
    layers = folded_layers(net, read_safetensors(o.model)[1]) if o.model else None
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
            x, model = net.normalize(images[:batch]), fp32_twin(net, layers, batch)
            peers = [OnnxRuntime(model, x, threads), OpenVino(model, x, threads)]
            if torch:
                peers += [PyTorch(net, layers, x, threads, compiled) for compiled in (False, True)]
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
