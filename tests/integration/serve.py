#!/usr/bin/env python3
"""`train --serve` from outside: what a browser gets of a run, whom a run does not wait for, and that it ends with the same
bits as one that nobody watches. Usage: serve.py CIFAR_RESNET. Exit status 77 where the build has no web server.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background it would be ignored, here and below
EXE = os.path.realpath(sys.argv[1])
TRAIN = [EXE, "train", "--data", "synthetic", "--limit-train", "320", "--limit-test", "50", "--width", "0.03125"]
TRAIN += ["--batch-size", "16", "--threads", "2", "--arch", "resnet9"]
STEPS = 20  # an epoch
PATIENCE = 200  # seconds; whoever waits longer has found a fault


def say(text):
    print("--", text, flush=True)


def refusal(*options):
    """What a run says that must not begin."""
    done = subprocess.run([*TRAIN, "--out", "refused", *options], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0, f"accepted {options}"
    assert not os.path.exists("refused/metrics.jsonl"), f"{options}: it has begun"
    assert len(done.stderr.splitlines()) == 1, f"{options}: not one sentence: {done.stderr}"
    return done.stderr


class Run:
    """A training run that serves its page. It is stopped until the first visitor has asked for the events."""

    def __init__(self, *options):
        self.process = subprocess.Popen([*TRAIN, "--serve", "0", *options], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)
        assert line.startswith("live page: http://127.0.0.1:"), line + self.process.stderr.read()
        self.url = line.split()[-1]
        self.port = int(self.url.rstrip("/").rsplit(":", 1)[1])
        self.visitor = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self.visitor.request("GET", "/events")
        self.deaf = self.connect(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")  # never reads
        self.silent = self.connect(b"")
        self.connect(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").close()  # vanishes
        self.process.send_signal(signal.SIGCONT)
        self.answer = self.visitor.getresponse()
        assert self.answer.getheader("Content-Type") == "text/event-stream"

    def connect(self, request):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        s.sendall(request)
        return s

    def events(self):
        """(kind, data) of what the visitor gets, until the server ends it."""
        event = {}
        for line in self.answer:
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if value:
                event[key] = value
            elif event:
                assert sorted(event) == ["data", "event", "id"], event
                yield event["event"], json.loads(event["data"])
                event = {}

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return answer.read()

    def status(self, request):
        """Of the answer to some bytes."""
        with self.connect(request) as s:
            return int(s.makefile("rb").readline().split()[1])

    def end(self):
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out + err


def check_events(events, epochs, first_step=0):
    """The kinds come in order, with the fields that the page shows, for a run of so many epochs."""
    kinds = [kind for kind, _ in events]
    last = {kind: data for kind, data in events}
    assert kinds[0] == "run" and kinds[-1] == "end", kinds
    run = last["run"]
    assert run["title"] == "ResNet-9" and run["epochs"] == epochs and run["steps_per_epoch"] == STEPS, run
    assert len(run["classes"]) == 10 and run["height"] == run["width"] == 32, run
    assert len(run["truths"]) == len(set(run["truths"])) == 8, run
    assert run["first_step"] == first_step, run
    history = [data for kind, data in events if kind == "epoch"]
    assert [e["epoch"] for e in history] == list(range(1, epochs + 1)), history
    assert all(key in history[0] for key in ("step", "train_loss", "test_loss", "test_accuracy", "lr")), history[0]
    steps = [data for kind, data in events if kind == "step"]
    assert [s["step"] for s in steps] == [n for n in range(50, epochs * STEPS + 1, 50) if n > first_step], steps
    assert all(key in s for s in steps for key in ("epoch", "loss", "accuracy", "lr", "images_per_s")), steps
    assert 0 < last["progress"]["step"] <= epochs * STEPS and last["progress"]["seconds_left"] >= 0, last["progress"]
    samples = last["samples"]
    assert samples["step"] == epochs * STEPS and last["end"] == {"step": epochs * STEPS, "finished": True}, last
    assert [layer["name"] for layer in samples["layers"]] == ["stem", "layer1", "layer2", "layer3"], samples
    assert len(samples["probabilities"]) == 8 and all(abs(sum(p) - 1) < 1e-5 for p in samples["probabilities"])


def read_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    say("what cannot be served is refused before the training begins")
    said = refusal("--serve", "nonsense")
    if "libcpp-httplib-dev" in said:
        print("skipped: this build has no web server (scripts/setup installs libcpp-httplib-dev)")
        sys.exit(77)
    assert "no PORT or HOST:PORT" in said, said
    assert "no PORT or HOST:PORT" in refusal("--serve", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "already in use" in refusal("--serve", str(taken.getsockname()[1]))

    say("a run that nobody watches")
    subprocess.run([*TRAIN, "--epochs", "3", "--out", "alone"], check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)

    say("a run that is watched, by visitors of every kind")
    run = Run("--epochs", "3", "--out", "watched")
    events, looked = [], False
    for event in run.events():
        events.append(event)
        if event[0] == "samples" and not looked:
            looked = True
            page = run.get("")
            for part in (b"<style>\n:root", b"function roundNumbers", b"new EventSource", b"</html>"):
                assert page.count(part) == 1, (part, page)
            assert len(run.get("things/images")) == 8 * 3 * 32 * 32
            layer = event[1]["layers"][0]
            maps = run.get("things/maps/stem/7")
            assert len(maps) == layer["shown"] * layer["height"] * layer["width"] and max(maps) == 255
            assert run.status(b"nonsense\r\n\r\n") == 400
            for path in (b"/things/maps/stem/8", b"/things/maps/nothing/0", b"/x"):
                assert run.status(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n") == 404, path
            assert run.status(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n") == 404
            assert run.status(b"GET /" + 100000 * b"x" + b" HTTP/1.1\r\n\r\n") >= 400
    check_events(events, epochs=3)
    status, said = run.end()
    assert status == 0, said
    assert read_bytes("watched/resnet9.safetensors") == read_bytes("alone/resnet9.safetensors"), "other weights"

    say("a run that stops early has finished, too")
    still = ("--lr", "1e-30", "--momentum", "0", "--weight-decay", "0")  # batch norm's statistics alone move
    run = Run("--epochs", "500", "--val-split", "64", "--early-stop", "1", *still, "--out", "early")
    last = {kind: data for kind, data in run.events()}
    status, said = run.end()
    assert status == 0 and "stopping early" in said and last["epoch"]["epoch"] < 500, (status, said)
    assert last["end"] == {"step": last["epoch"]["step"], "finished": True}, last["end"]
    assert last["samples"]["step"] == last["end"]["step"], last["samples"]

    say("Ctrl-C ends it; the page of the run that goes on begins with the history")
    run = Run("--epochs", "100000", "--out", "stopped")
    events = run.events()
    while next(events)[0] != "epoch":
        pass
    run.process.send_signal(signal.SIGINT)
    kind, end = list(events)[-1]
    status, said = run.end()
    assert status == 130 and "--resume" in said, (status, said)
    assert kind == "end" and end["step"] >= STEPS and not end["finished"], (kind, end)
    shutil.copytree("stopped", "stopped_alone")
    epochs = end["step"] // STEPS + 2
    run = Run("--epochs", str(epochs), "--out", "stopped", "--resume")
    events = list(run.events())
    status, said = run.end()
    assert status == 0, said
    check_events(events, epochs, end["step"])
    assert [kind for kind, _ in events][:2] == ["run", "epoch"], events
    subprocess.run([*TRAIN, "--epochs", str(epochs), "--out", "stopped_alone", "--resume"], check=True,
                   stdout=subprocess.DEVNULL, timeout=PATIENCE)
    assert read_bytes("stopped/resnet9.safetensors") == read_bytes("stopped_alone/resnet9.safetensors"), "other weights"


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    os.environ["MININN_CACHE_DIR"] = os.path.join(folder, "cache")
    main()
    print("all good")

