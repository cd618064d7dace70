#!/usr/bin/env python3
"""TensorBoard's own reader on the event files of a run that was resumed: it shows what metrics.jsonl says, each step once.

Usage: event_files.py CIFAR_RESNET. Exit status 77 where the package tensorboard is not installed, neither for this Python
nor in the .venv of scripts/setup --peers.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

VENV_PYTHON = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../.venv/bin/python")
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as e:
    if len(sys.argv) == 2 and os.path.exists(VENV_PYTHON):
        os.execv(VENV_PYTHON, [VENV_PYTHON, *sys.argv, "in .venv"])
    print(f"skipped: {e} (scripts/setup --peers installs it)")
    sys.exit(77)

TAGS = {
    "step": {f"train/{name}": name for name in ("loss", "accuracy", "lr", "images_per_s")},
    "epoch": {
        "train_epoch/loss": "train_loss",
        "train_epoch/accuracy": "train_accuracy",
        "train_epoch/lr": "lr",
        "train_epoch/images_per_s": "images_per_s",
        "test/loss": "test_loss",
        "test/accuracy": "test_accuracy",
        "validation/loss": "validation_loss",
        "validation/accuracy": "validation_accuracy",
    },
}


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def check_same(events, metrics):
    """What the reader shows of a folder is what the log of the run says."""
    reader = EventAccumulator(events, size_guidance={"scalars": 0})
    reader.Reload()
    with open(metrics) as lines:
        log = [json.loads(line) for line in lines]
    assert sorted(reader.Tags()["scalars"]) == sorted({**TAGS["step"], **TAGS["epoch"]}), reader.Tags()
    for kind, tags in TAGS.items():
        for tag, name in tags.items():
            expected = [(line["step"], f32(line[name])) for line in log if line["kind"] == kind]
            shown = [(e.step, e.value) for e in reader.Scalars(tag)]
            assert expected and shown == expected, f"{tag}: {shown} instead of {expected}"


def main():
    exe = os.path.realpath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MININN_CACHE_DIR"] = os.path.join(folder, "cache")
        train = [exe, "train", "--data", "synthetic", "--limit-train", "140", "--limit-test", "20", "--val-split", "20"]
        train += ["--arch", "resnet9", "--width", "0.03125", "--batch-size", "2", "--threads", "1", "--out", "out", "--tensorboard", "events"]

        def run(*options):
            subprocess.run([*train, *options], check=True, stdout=subprocess.DEVNULL)

        checkpoint = "out/checkpoint/last.safetensors"
        run("--epochs", "1")
        check_same("events", "out/metrics.jsonl")
        shutil.copy(checkpoint, "older")
        run("--epochs", "3", "--resume")
        check_same("events", "out/metrics.jsonl")

        # Of the two later epochs the checkpoint was lost, and the last event was half written when that happened.
        shutil.copy("older", checkpoint)
        newest = os.path.join("events", sorted(os.listdir("events"))[-1])
        os.truncate(newest, os.path.getsize(newest) - 3)
        run("--epochs", "3", "--resume")
        check_same("events", "out/metrics.jsonl")

        run("--epochs", "1", "--seed", "2")  # another run in the same folder
        check_same("events", "out/metrics.jsonl")
    print("all good")


main()
