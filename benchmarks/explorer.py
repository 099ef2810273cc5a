"""The explorer in the browser: from a slider's move to the map on the screen, and memory over many moves.

Chromium moves a slider; timed is, inside the page, from asking until the map's bytes are in the canvas: the request,
the computing, the frame, the painting. Beside it the server's share, computing alone. Memory is that of the server's
process over 10,000 moves, as fast as the page sends them.
"""

import resource
import shutil
import time
from pathlib import Path
from statistics import quantiles

from localgrad.explorer.launch import serve
from localgrad.explorer.state import State, read_state
from localgrad.explorer.views import mode_space

TARGETS = {64: 16.0, 256: 100.0, 1024: 1500.0}  # milliseconds, of issue and design
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Asks for maps one after the other and returns the milliseconds until each size is painted.
MEASURE = """async ([moves, rest]) => {
  const { Connection } = await import("/connection.js");
  const { Store } = await import("/store.js");
  const spec = await (await fetch("/spec.json")).json();
  const palette = new Uint32Array(new Uint8Array(spec.palette).buffer);
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  const connection = new Connection(() => {});
  await new Promise((done) => { connection.socket.addEventListener("open", done); });
  const state = new Store(spec).state, found = {};
  for (let move = 0; move < moves; move++) {
    state.decay = 0.3 + 0.4 * (move / moves);
    const started = performance.now();
    await new Promise((done) => {
      connection.on("basin", (header, { codes }) => {
        const size = header.count;
        if (canvas.width !== size) Object.assign(canvas, { width: size, height: size });
        const image = new ImageData(size, size), pixels = new Uint32Array(image.data.buffer);
        for (let i = 0; i < pixels.length; i++) pixels[i] = palette[codes[i]];
        context.putImageData(image, 0, 0);
        (found[size] ??= []).push(performance.now() - started);
        if (!rest || size === 1024) done();
      });
      connection.ask("basin", state, rest);
    });
  }
  return found;
}"""
FLOOD = """async (moves) => {
  const slider = document.querySelector("#slider-decay");
  for (let move = 0; move < moves; move++) {
    slider.value = 0.99 * Math.sin(move / 50);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    if (move % 4 === 0) await new Promise((done) => setTimeout(done));
  }
}"""


def memory() -> float:
    """Of this process, in MB: now where the system tells, else the highest so far."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def heap_of(session) -> float:
    """Of the page's scripts, in MB, after a collection of garbage."""
    session.send("HeapProfiler.collectGarbage")
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    return metrics["JSHeapUsedSize"] / 1e6


def percentiles(values: list[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]


def computing(count: int, rounds: int) -> list[float]:
    """Milliseconds of the server's own work for one size, sliders moving."""
    seconds = []
    for k in range(rounds + 1):
        state = read_state({"decay": 0.3 + 0.4 * k / rounds})
        started = time.perf_counter()
        for part in mode_space.basin(state, True):
            if part and part[0]["count"] == count:
                break
            if part:
                started = time.perf_counter()
        seconds.append(1e3 * (time.perf_counter() - started))
    return seconds[1:]


def main(*, quick: bool = False) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("there is no Chromium; install it, for example with: apt-get install chromium")
        return
    from playwright.sync_api import sync_playwright

    moving, resting, flood = (40, 4, 500) if quick else (300, 15, 10_000)
    running = serve(State(), port=0)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(running.url)
        page.wait_for_selector("canvas[data-count='1024']", timeout=300_000, state="attached")
        page.evaluate(MEASURE, [5, True])
        found = {64: page.evaluate(MEASURE, [moving, False])["64"]}
        finer = page.evaluate(MEASURE, [resting, True])
        found |= {256: finer["256"], 1024: finer["1024"]}
        print(f"{'map':>6} {'p50':>9} {'p95':>9} {'target':>9}   of it computing, p50 and p95")
        for count, values in found.items():
            p50, p95 = percentiles(values)
            own = percentiles(computing(count, 5 if count == 1024 else 20))
            print(f"{count:>5}² {p50:6.1f} ms {p95:6.1f} ms {TARGETS[count]:6.0f} ms   {own[0]:.1f}, {own[1]:.1f} ms")
        print("times of 256² and 1024² are from the request on: the coarser maps before them count in")
        page.evaluate(FLOOD, flood // 10)
        page.wait_for_timeout(2000)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        before, heap = memory(), heap_of(session)
        page.evaluate(FLOOD, flood)
        page.wait_for_timeout(2000)
        print(f"memory over {flood:,} moves of a slider: server {before:.0f} → {memory():.0f} MB,", end=" ")
        print(f"page {heap:.1f} → {heap_of(session):.1f} MB")
        browser.close()
    running.close()


if __name__ == "__main__":
    main()
