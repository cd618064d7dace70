#!/usr/bin/env python3
"""Opens report.html in a headless Chromium and compares what it shows with the logs that it was made of.

Usage: report_page.py PATH/TO/cifar_resnet. Exit status 77 where there is no Chromium.
"""
import base64
import html
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "chrome"]
CLASSES = ["cat", "dog", "frog"]
HOSTILE = "</script><script>window.broken = 1</script><!--<b>{{data}}"
LAYERS = [("conv1", "conv2d+relu", 4000, 1100, 10000, 38.5, 0.02), ("conv2" + HOSTILE, "conv2d", 90000, 23000, 50000, 31.5, 0.01),
          ("pool", "global_sum", 0, 0, 0, None, 0.001), ("fc", "linear", 800, 300, 40000, 40.0, None)]


def training():
    lines = []
    for epoch in (1, 2, 3):
        for step in (100 * epoch - 50, 100 * epoch):
            lines.append({"kind": "step", "step": step, "epoch": epoch, "loss": 200 / step, "accuracy": step / 400, "lr": 0.1,
                          "images_per_s": 1000})
        lines.append({"kind": "epoch", "epoch": epoch, "step": 100 * epoch, "train_loss": 2 / epoch, "train_accuracy": epoch / 4,
                      "test_loss": 2.1 / epoch, "test_accuracy": epoch / 5, "validation_loss": 2.2 / epoch,
                      "validation_accuracy": epoch / 6, "lr": 0.1, "seconds": 1, "images_per_s": 1000})
    return "".join(json.dumps(line) + "\n" for line in lines)


def latency(scale):
    return [{"net": net, "batch": batch, "threads": threads, "ms_per_image": scale * (3 if net == "fp32" else 1) / threads,
             "p50": 1, "p95": 2, "p99": 3} for threads in (1, 2) for batch in (1, 8, 32) for net in ("fp32", "int8")]


def details():
    rng = random.Random(1)
    pixels = lambda n: base64.b64encode(rng.randbytes(n)).decode()
    guess = lambda *labels: [{"class": k, "probability": p} for k, p in zip(labels, (0.7, 0.2, 0.1))]
    histogram = {"lo": -1, "hi": 1, "before": [1, 5, 9, 5], "after": [1, 6, 8, 5]}
    memory = lambda weights, packed, piece: {
        "weight_bytes": weights, "packed_bytes": packed, "arena_bytes": 2 * piece, "nodes": [layer[0] for layer in LAYERS],
        "arena": [{"offset": 0, "bytes": piece, "first": 0, "last": 1, "is_value": 1},
                  {"offset": piece, "bytes": piece, "first": 1, "last": 2, "is_value": 1},
                  {"offset": 0, "bytes": piece // 2, "first": 3, "last": 3, "is_value": 0}]}
    return ({"classes": CLASSES, "wrong": 7,
             "misclassified": [
                 {"index": 11, "truth": 0, "pixels": pixels(3072), "fp32": guess(0, 1, 2), "int8": guess(1, 0, 2)},
                 {"index": 12, "truth": 1, "pixels": pixels(3072), "fp32": guess(2, 1, 0), "int8": guess(2, 0, 1)}],
             "histograms": [{"name": name, "weights": histogram, "activations": histogram} for name in ("conv1", "conv2")],
             "memory": {"fp32": memory(94800, 100000, 8192), "int8": memory(24400, 30000, 2048)}},
            {"pixels": pixels(3072), "caption": "test image 0: cat",
             "layers": [{"name": "stem", "height": 4, "width": 4, "all": 64, "channels": [pixels(16), pixels(16)]}]})


def make_folder(out):
    summary = {"network": "ResNet-9 " + HOSTILE, "fp32_accuracy": 0.9512, "int8_accuracy": 0.9507, "accuracy_drop": 0.05, "agreement": 0.9962,
               "changed_labels": 38, "mcnemar_p": 0.61, "test_images": 10000, "fp32_file_bytes": 44700000, "int8_file_bytes": 11300000,
               "size_ratio": 3.956, "peak_rss_mib": 512.4, "int8_mac_coverage": 1.0, "machine": "a " + HOSTILE, "threads": 2,
               "calibration": {"images": 512, "observer": "mse"}}
    benchmarks = {"confusion": {"classes": CLASSES, "fp32": [80, 71, 0, 3, 90, 1, 0, 2, 99], "int8": [82, 69, 0, 3, 90, 1, 0, 3, 98]},
                  "rows": latency(1),
                  "layers": [dict(zip(("name", "op", "fp32_bytes", "int8_bytes", "macs", "sqnr_db", "ms"), layer), kernel="own.direct.avx2")
                             for layer in LAYERS]}
    quantization, features = details()
    (out / "metrics.jsonl").write_text(training())
    for name, log in (("summary", summary), ("quantization_benchmarks", benchmarks), ("quantization_details", quantization),
                      ("feature_maps", features), ("bench", {"rows": latency(2)})):
        (out / f"{name}.json").write_text(json.dumps(log))


# In the page's frame: what it shows, and what it does when it is used.
PROBE = r"""
const later = () => new Promise((done) => setTimeout(done, 400));
async function probe(frame) {
  const doc = frame.contentDocument, win = frame.contentWindow, $ = (s) => doc.querySelector(s), all = (s) => [...doc.querySelectorAll(s)];
  const texts = (s) => all(s).map((e) => e.textContent), tip = () => ($('#tip').hidden ? null : texts('#tip > div'));
  const hover = (e, type = 'pointerover') => {
    const box = e.getBoundingClientRect();
    e.dispatchEvent(new win.PointerEvent(type, {bubbles: true, clientX: box.left + box.width * 0.99, clientY: box.top + 20}));
    return tip();
  };
  const out = {title: doc.title, h1: $('h1').textContent, broken: win.broken ?? null, contents: texts('#contents a'), sections: all('main > section').map((s) => s.id)};
  out.wider = doc.documentElement.scrollWidth - win.innerWidth;
  out.width = win.innerWidth;
  out.clipped = all('svg').filter((s) => s.getBoundingClientRect().width + 0.5 < s.getAttribute('width')).length;
  out.unlabelled = all('svg[role=img], canvas').filter((e) => !e.getAttribute('aria-label')).length;
  if (!$('#numbers')) return out;
  out.cards = Object.fromEntries(all('.number-card').map((c) => [c.querySelector('dt').textContent, [c.querySelector('dd').textContent, c.querySelector('p').textContent]]));
  out.about = Object.fromEntries(all('.about tr').map((r) => [...r.children].map((c) => c.textContent)));
  if (!$('#layers')) return out;
  const rows = () => all('#layers tbody tr').map((r) => [...r.children].map((c) => c.textContent));
  out.layers = rows();
  out.totals = texts('#layers tfoot td');
  const head = $('#layers th[data-key=fp32_bytes] button');
  head.click(); out.falling = [rows().map((r) => r[3]), $('#layers th[data-key=fp32_bytes]').getAttribute('aria-sort')];
  head.click(); out.rising = [rows().map((r) => r[3]), $('#layers th[data-key=fp32_bytes]').getAttribute('aria-sort')];
  head.click(); out.unsorted = rows().map((r) => r[3]);
  $('#layers th[data-key=ms] button').click(); out.missing_last = rows().map((r) => r[6]);
  const filter = $('#layers input'); filter.value = 'CONV2D relu'; filter.dispatchEvent(new win.Event('input'));
  out.filtered = [rows().map((r) => r[0]), $('#layers .count').textContent];
  out.matrices = all('.matrix').map((m) => [...m.querySelectorAll('tbody td')].map((c) => c.textContent));
  out.cell = all('.matrix').map((m) => hover(m.querySelector('[data-at="0,1"]'))[0]);
  $('.matrix [data-at="0,0"]').focus();
  doc.activeElement.dispatchEvent(new win.KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
  out.walked = doc.activeElement.dataset.at;
  const curves = () => all('#training svg').map((f) => f.querySelectorAll('path').length), marks = () => texts('#training .chart:first-child .tick.middle');
  out.curves = curves();
  out.steps = [marks().at(-1), hover($('#training svg'), 'pointermove')];
  $('#training [data-series=test]').click(); out.fewer_curves = curves();
  $('#training [data-value=epoch]').click(); out.epochs = [marks().at(-1), hover($('#training svg'), 'pointermove')];
  out.mistakes = all('.card').map((c) => c.innerText.split(/\s*\n\s*/).filter(Boolean));
  $('#mistakes input').click(); out.differing = all('.card').filter((c) => !c.hidden).length;
  out.histogram = hover(all('#histograms svg')[0], 'pointermove');
  out.choices = texts('#histograms option');
  out.memory = all('#memory tbody tr').map((r) => [...r.children].map((c) => c.textContent));
  out.pieces = all('#memory .chart').map((c) => c.querySelectorAll('.piece').length);
  out.piece = hover($('#memory .piece'), 'pointermove');
  out.latency = all('.latency').map((t) => [...t.querySelectorAll('tbody tr')].map((r) => [...r.children].map((c) => c.textContent)));
  out.features = all('#features canvas').length;
  const colours = () => [win.getComputedStyle(doc.body).backgroundColor, win.getComputedStyle(doc.body).color, win.getComputedStyle($('.number-card')).backgroundColor];
  const theme = $('#theme');
  theme.click(); out.light = [theme.textContent, ...colours()];
  theme.click(); out.dark = [theme.textContent, ...colours()];
  theme.click(); out.system = theme.textContent;
  return out;
}
"""


class Browser:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def look(self, pages):
        """pages: name -> (html, width). What PROBE says of each, and what the console got."""
        hook = "<script>addEventListener('error', (e) => parent.errors.push(String(e.message)))</script>"
        frames = "".join(f'<iframe id="{name}" style="width:{width}px;height:900px" srcdoc="{html.escape(text.replace("<head>", "<head>" + hook, 1))}">'
                         "</iframe>" for name, (text, width) in pages.items())
        wrapper = self.folder / "wrapper.html"
        wrapper.write_text(f"<!DOCTYPE html><meta charset=utf-8><script>window.errors = [];{PROBE}</script>{frames}<pre id=result></pre><script>"
                           "addEventListener('load', async () => { await later(); const out = {};"
                           "for (const f of document.querySelectorAll('iframe')) { try { out[f.id] = await probe(f); } catch (e) { errors.push(e.stack); } }"
                           "out.errors = errors; document.getElementById('result').textContent = JSON.stringify(out);"
                           "for (const f of document.querySelectorAll('iframe')) f.remove(); });</script>")
        command = [self.program, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", "--virtual-time-budget=20000",
                   f"--user-data-dir={self.folder / 'profile'}", "--enable-logging=stderr", "--v=0", "--dump-dom", wrapper.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=800, env={**os.environ, "HOME": str(self.folder)})
        found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
        if not found or not found.group(1):
            raise SystemExit(f"FAILED: Chromium shows nothing (status {done.returncode}):\n{done.stderr[-3000:]}")
        out = json.loads(html.unescape(found.group(1)))
        out["errors"] += [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return out


failures = []


def expect(what, found, wanted):
    if found != wanted:
        failures.append(f"{what}:\n  found  {repr(found):.2000}\n  wanted {repr(wanted):.2000}")


def check_numbers(page):
    cards = page["cards"]
    expect("the headline", {name: value for name, (value, _) in cards.items()},
           {"fp32 accuracy": "95.12%", "int8 accuracy": "95.07%", "Drop": "0.05 points", "Agreement": "99.62%", "Size of the file": "10.78 MiB",
            "Speed-up, one image": "3.00×", "Speed-up, batch of 32": "3.00×", "Runs in int8": "100%"})
    for name, words in (("fp32 accuracy", ["10,000 test images", "3 epochs"]), ("Drop", ["0.61"]), ("Agreement", ["38"]),
                        ("Size of the file", ["42.63 MiB", "3.96×"]), ("Speed-up, one image", ["1.50 ms → 0.500 ms", "2 threads"])):
        for word in words:
            expect(f"the explanation of {name} says {word}", word in cards[name][1], True)
    expect("the machine", page["about"].get("machine"), "a " + HOSTILE)
    expect("an option", page["about"].get("calibration: images"), "512")


def check_layers(page):
    number = lambda v: f"{v:,}"
    macs = sum(layer[4] for layer in LAYERS)
    expect("the layers", page["layers"],
           [[name, op, "own.direct.avx2", number(fp32), number(int8), "–" if db is None else f"{db:.1f}", "–" if ms is None else f"{ms:.4f}",
             f"{100 * m / macs:.1f}%"] for name, op, fp32, int8, m, db, ms in LAYERS])
    expect("the sums", page["totals"], ["all", "", "", "94,800", "24,400", "", "0.031", "100%"])
    expect("sorted once", page["falling"], [["90,000", "4,000", "800", "0"], "descending"])
    expect("sorted twice", page["rising"], [["0", "800", "4,000", "90,000"], "ascending"])
    expect("sorted three times", page["unsorted"], ["4,000", "90,000", "0", "800"])
    expect("sorted by what is not known everywhere", page["missing_last"], ["0.0200", "0.0100", "0.0010", "–"])
    expect("filtered", page["filtered"], [["conv1"], "1 of 4 layers"])


def check_pictures(page):
    expect("the confusion matrices", page["matrices"], [
        ["80", "71", "0", "3", "90", "1", "0", "2", "99"], ["82", "69", "0", "3", "90", "1", "0", "3", "98"],
        ["+2", "−2", "0", "0", "0", "0", "0", "+1", "−1"]])
    expect("a cell", page["cell"], ["truth cat, predicted dog: 71 → 69"] * 3)
    expect("a cell by keyboard", page["walked"], "0,1")
    expect("the curves", page["curves"], [4, 4, 2, 2])
    expect("the curves without the test", page["fewer_curves"], [3, 3, 2, 2])
    expect("the axis of steps", page["steps"], ["step", [
        "step 300", "training, inside epochs: 0.6667", "training, epochs: 0.6667", "validation: 0.7333", "test: 0.7000"]])
    expect("the axis of epochs", page["epochs"], ["epoch", [
        "epoch 3", "training, inside epochs: 0.6667", "training, epochs: 0.6667", "validation: 0.7333"]])
    sides = ["70%", "dog", "20%", "frog", "10%"]
    expect("a mistake", page["mistakes"][0], ["cat", "image 11", "only fp32 right", "fp32", "cat", *sides, "int8", "dog", "70%", "cat", "20%", "frog", "10%"])
    expect("all mistakes, and those on which the networks disagree", (len(page["mistakes"]), page["differing"]), (2, 1))
    expect("the layers of the histograms", page["choices"], ["conv1", "conv2"])
    expect("feature maps", page["features"], 3)


def check_costs(page):
    expect("bytes of the weights", page["memory"][0][1:], ["93 KiB", "24 KiB", "3.89×"])
    expect("bytes of the block", page["memory"][2][1:], ["16 KiB", "4.0 KiB", "4.00×"])
    expect("pieces of the block", page["pieces"], [3, 3])
    expect("a piece of the block", page["piece"], ["result of conv1", "8.0 KiB at byte 0", "nodes 1 to 2 of 4, until " + LAYERS[1][0]])
    expect("a row of ptq's latency", page["latency"][0][0][:7], ["1", "1", "3.00 ms", "1.00 ms", "3.00×", "333", "1,000"])
    expect("a row of bench's latency", page["latency"][1][5][:7], ["2", "32", "3.00 ms", "1.00 ms", "3.00×", "333", "1,000"])


def main():
    exe = pathlib.Path(sys.argv[1]).resolve()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        print("skipped: there is no Chromium here (scripts/setup --browser installs it on Debian)")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for out in ("all", "trained"):
            (folder / out).mkdir()
        make_folder(folder / "all")
        shutil.copy(folder / "all/metrics.jsonl", folder / "trained")
        pages = {}
        for out in ("all", "trained"):
            subprocess.run([exe, "report", "--out", folder / out], check=True, stdout=subprocess.DEVNULL)
            pages[out] = (folder / out / "report.html").read_text()
            for address in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", re.sub(r"<script.*?</script>", "", pages[out], flags=re.S)):
                expect(f"{out}: an address is of the page itself", address.startswith(("#", "data:")), True)
        seen = Browser(program, folder).look({"wide": (pages["all"], 1240), "narrow": (pages["all"], 400), "trained": (pages["trained"], 1240)})
    expect("errors in the console", seen["errors"], [])
    wide = seen["wide"]
    expect("the title", (wide["title"], wide["h1"]), (f"mininn: ResNet-9 {HOSTILE} on CIFAR-10", f"ResNet-9 {HOSTILE} on CIFAR-10"))
    expect("a text ended the script", wide["broken"], None)
    expect("the sections", wide["sections"], ["numbers", "training", "layers", "confusion", "mistakes", "histograms", "memory", "latency", "features"])
    expect("entries of the contents", len(wide["contents"]), 9)
    expect("sections without quantization", seen["trained"]["sections"], ["training"])
    for name in ("wide", "narrow", "trained"):
        expect(f"{name}: the page is wider than the window by", max(0, seen[name]["wider"]), 0)
        expect(f"{name}: charts that are cut off", seen[name]["clipped"], 0)
        expect(f"{name}: pictures without a name", seen[name]["unlabelled"], 0)
    expect("the narrow window", seen["narrow"]["width"], 400)
    check_numbers(wide)
    check_layers(wide)
    check_pictures(wide)
    check_costs(wide)
    expect("the buttons of the colours", (wide["light"][0], wide["dark"][0], wide["system"]), ("Colours: light", "Colours: dark", "Colours: system"))
    expect("light and dark differ", all(a != b for a, b in zip(wide["light"], wide["dark"])), True)
    for failure in failures:
        print("FAILED:", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
