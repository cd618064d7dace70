#!/usr/bin/env python3
"""Times mininn's training step beside PyTorch's: the same network and batch, the same threads, taking turns in one run.

    .venv/bin/python -m pip install -r bench/peers/requirements_training.txt
    .venv/bin/python bench/peers/compare_training.py --batch 128 --threads 2

PyTorch trains channels-last, which is its faster layout on processors, eagerly and compiled (torch.compile), in fp32 and,
where the processor multiplies bf16, with bf16 autocast beside our mixed precision. A step is forward, loss, backward and SGD
with momentum and weight decay, on images and labels that stay the same. The most memory that mininn's process had stands beside
that of a process in which PyTorch does three steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.05  # seconds between turns: worker threads spin after their work (PyTorch's for long), and would disturb the next


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet18():
    """The network of examples/cifar_resnet/resnet.h."""
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class PyTorch:
    def __init__(self, name, batch, compiled, bf16):
        self.name = name
        torch.manual_seed(1)
        self.net = resnet18().to(memory_format=torch.channels_last).train()
        self.model = torch.compile(self.net) if compiled else self.net
        self.bf16 = bf16
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        self.images = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % 10

    def step(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = nn.functional.cross_entropy(self.model(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def times(self, repeats):
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            self.step()
            times.append((time.perf_counter() - begin) * 1e3)
        return times


class Mininn:
    def __init__(self, program, batch, threads, bf16):
        self.name = f"mininn {'bf16' if bf16 else 'fp32'}"
        self.batch = batch
        self.bf16 = bf16
        command = [program, "--serve", "--threads", str(threads)] + ["--amp"] * bf16
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def times(self, repeats):
        self.process.stdin.write(f"time {self.batch} {repeats}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or answer.startswith("error"):
            sys.exit(f"compare_training.py: {answer.strip() or 'bench_train_step ended'}")
        return [float(ms) for ms in answer.split()]

    def peak_mib(self):
        return peak_mib(self.process.pid)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peak_mib(pid="self"):
    """The most memory that a process had so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def alone(batch, threads, compiled, bf16):
    """What PyTorch needs by itself: its modules, and three steps."""
    torch.set_num_threads(threads)
    PyTorch("", batch, compiled, bf16).times(3)
    print(peak_mib())


def peak_of(program, options):
    if isinstance(program, Mininn):
        return program.peak_mib()
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import compare_training; "
            f"compare_training.alone({options.batch}, {options.threads}, {program.model is not program.net}, {program.bf16})")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8, help="turns of each program")
    parser.add_argument("--program", default=ROOT / "build/bench/bench_train_step", help="bench_train_step")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    has_bf16 = any(flag in Path("/proc/cpuinfo").read_text().split() for flag in ("avx512_bf16", "amx_bf16"))
    programs = []
    for bf16 in (False, True) if has_bf16 else (False,):
        programs.append(Mininn(options.program, options.batch, options.threads, bf16))
        for compiled in (False, True):
            name = f"PyTorch {torch.__version__} {'bf16' if bf16 else 'fp32'} {'compiled' if compiled else 'eager'}"
            programs.append(PyTorch(name, options.batch, compiled, bf16))

    times = {}
    for program in list(programs):
        try:
            program.times(2)  # compiles, and fills caches
        except RuntimeError as error:  # torch.compile needs a C++ compiler
            print(f"{program.name}: left out, {(str(error).strip() or repr(error)).splitlines()[0]}")
            programs.remove(program)
            continue
        times[program.name] = []
    for _ in range(options.rounds):
        for program in programs:
            time.sleep(PAUSE)
            times[program.name] += program.times(2)[1:]  # the first finds the caches as another program has left them

    rows = []
    print(f"batch {options.batch}, {options.threads} threads; peers beside mininn in the same precision\n"
          f"{'':44s} {'ms/step':>9s} {'least':>9s} {'images/s':>9s} {'peer/mininn':>12s} {'peak MiB':>9s}")
    for program in programs:
        ms = times[program.name]
        median, peak = statistics.median(ms), peak_of(program, options)
        if isinstance(program, Mininn):
            ours = median
            program.close()
        rows.append({"program": program.name, "batch": options.batch, "threads": options.threads, "ms": median,
                     "ms_min": min(ms), "images_per_s": options.batch / median * 1e3, "times_mininn": median / ours,
                     "peak_mib": peak})
        print(f"{program.name:44s} {median:9.1f} {min(ms):9.1f} {options.batch / median * 1e3:9.1f} {median / ours:11.2f}x"
              f" {peak:9.0f}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
