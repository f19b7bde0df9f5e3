#!/usr/bin/env python3
"""Measures mxhal beside ggml and ONNX Runtime in one interleaved run, and writes docs/performance.md and its picture.

    cargo build --release
    benches/peers/build.sh /tmp/mxhal-peers
    benches/compare.py --peers /tmp/mxhal-peers [--threads 1,2] [--rounds 5] [--mxhal target/release/mxhal]

On a machine that others use too, `--threads 1 --clock thread` takes the time that each contender's thread had a processor.

In every round each contender has its turn at each piece of work; what is written is the median over rounds, and a ratio is
the median over rounds of the ratio within the round. Needs Python 3.9 and nothing else; see benches/README.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "performance.md"
PICTURE = PROJECT / "docs" / "performance.svg"
BEGIN = "<!-- measured by benches/compare.py: begin -->"
END = "<!-- measured by benches/compare.py: end -->"

ROWS = {"dense": [1, 2, 4, 8, 16, 64, 512], "moe": [1, 8, 64, 256]}
WORK = {"dense": "matmul/4096x4096", "moe": "moe-ffn/4096x2048x32x6"}
TITLE = {
    "dense": "Products: 4096×4096, MXFP4 weights",
    "moe": "Layers of experts: hidden 4096, inner 2048, 32 experts, 6 for a token, MXFP4 weights",
}
FLOPS = {"dense": 2 * 4096 * 4096, "moe": 6 * 6 * 4096 * 2048}
SCHEMES = ["mxint8", "bf16"]
PEERS = {"dense": ["ggml"], "moe": ["ggml", "ONNX Runtime"]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, type=pathlib.Path, help="the folder of benches/peers/build.sh")
    parser.add_argument("--mxhal", type=pathlib.Path, default=PROJECT / "target" / "release" / "mxhal")
    parser.add_argument("--threads", default=",".join(map(str, sorted({1, os.cpu_count() or 1}))))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number of rows, each time")
    parser.add_argument("--clock", choices=["wall", "thread"], default="wall")
    found = parser.parse_args()
    for needed in [found.mxhal, found.peers / "ggml", found.peers / "venv" / "bin" / "python"]:
        if not needed.exists():
            parser.error(f"{needed} is not there: cargo build --release and benches/peers/build.sh make it")
    if found.clock == "thread" and found.threads != "1":
        parser.error("--clock thread goes with --threads 1")
    if found.rounds < 1:
        parser.error("--rounds is at least 1")
    return found


def lines(command):
    """The JSON lines that a program prints."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {ran.returncode}:\n{ran.stderr}")
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def peer(options, name, work, threads):
    """Seconds of a peer by number of rows."""
    program = [options.peers / "ggml"]
    if name == "ONNX Runtime":
        script = PROJECT / "benches" / "peers" / "onnxruntime_moe.py"
        program = [options.peers / "venv" / "bin" / "python", script]
    command = [*program, work, threads, options.seconds, options.clock, *ROWS[work]]
    return {line["rows"]: line["seconds"] for line in lines(command)}


def ours(options, work, threads):
    """A report of mxhal bench, and of that seconds and fractions of the limit by scheme and number of rows."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        rows = ",".join(map(str, ROWS[work]))
        command = [options.mxhal, "bench", "--backend", "cpu", "--threads", threads, "--schemes", ",".join(SCHEMES)]
        command += ["--rows", rows, "--filter", f"^{WORK[work]}/", "--rounds", 3, "--json", report]
        command += ["--clock", options.clock]
        lines(command)
        report = json.loads(report.read_text())
    run = report["runs"][0]
    found = {}
    for case in run["cases"]:
        found[case["scheme"], case["rows"]] = (case["seconds"]["median"], case["fraction"], case["limit"]["name"])
    return run, found


def measure(options, work, threads):
    """What each contender needed in every round, by contender and number of rows; and the last run of ours."""
    seconds, fractions, limits, busy, run = {}, {}, {}, [], None
    for turn in range(options.rounds):
        print(f"{work}, {threads} threads: round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
        run, found = ours(options, work, threads)
        busy.append(run["other_processors"] or 0.0)
        for (scheme, rows), (time, fraction, limit) in found.items():
            seconds.setdefault((f"mxhal {scheme}", rows), []).append(time)
            fractions.setdefault((scheme, rows), []).append(fraction)
            limits[scheme, rows] = limit
        for name in PEERS[work]:
            for rows, time in peer(options, name, work, threads).items():
                seconds.setdefault((name, rows), []).append(time)
    return {"seconds": seconds, "fractions": fractions, "limits": limits, "run": run, "busy": busy}


def table(work, measured):
    """Rows of Markdown: times, fractions of the limit, and ratios to the peers."""
    seconds, median = measured["seconds"], statistics.median
    head = ["rows" if work == "dense" else "tokens"]
    head += [f"mxhal `{scheme}`" for scheme in SCHEMES] + PEERS[work]
    head += [f"`{scheme}` : {name}" for scheme in SCHEMES for name in PEERS[work]]
    out = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---:"] * len(head)) + " |"]
    for rows in ROWS[work]:
        cells = [str(rows)]
        for scheme in SCHEMES:
            share = median(measured["fractions"][scheme, rows])
            time = median(seconds[f"mxhal {scheme}", rows])
            cells.append(f"{duration(time)}, {share:.2f} of {measured['limits'][scheme, rows]}")
        cells += [duration(median(seconds[name, rows])) for name in PEERS[work]]
        for scheme in SCHEMES:
            for name in PEERS[work]:
                pairs = zip(seconds[name, rows], seconds[f"mxhal {scheme}", rows])
                cells.append(f"{median(theirs / own for theirs, own in pairs):.2f}")
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def duration(seconds):
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def page(options, results):
    """The measured part of the page."""
    run = next(iter(results.values()))["run"]
    device = run["device"]
    busiest = max(max(result["busy"]) for result in results.values())
    out = [
        f"Measured on {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}: {device['name']}{family()}, "
        f"`{device['architecture']}`; {options.rounds} rounds. Peers: {versions(options)}.",
    ]
    if options.clock == "thread":
        out.append(
            f"Other programs kept up to {busiest:.1f} processors busy meanwhile, so times are those that the one thread of each "
            "contender had a processor. Caches and memory it shared with the others."
        )
    elif busiest > 0.15:
        out.append(
            f"**Other programs kept up to {busiest:.1f} processors busy meanwhile:** measure again when the machine is quiet."
        )
    out.append("![GFLOP/s of mxhal and its peers](performance.svg)")
    for (work, threads), result in results.items():
        ceilings = ", ".join(
            f"{ceiling['name']} {ceiling['rate']['median'] / 1e9:.1f} {'GB/s' if ceiling['name'] in ('read', 'copy') else 'GFLOP/s'}"
            for ceiling in result["run"]["ceilings"]
        )
        named = "1 thread" if threads == 1 else f"{threads} threads"
        out += [f"### {TITLE[work]}; {named}", f"Ceilings in the last round: {ceilings}.", table(work, result)]
    return "\n\n".join(out)


def family():
    """What Linux knows of a processor whose name says little."""
    try:
        found = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("cpu family")]
    except OSError:
        found = []
    return f" (family {found[0]})" if found else ""


def versions(options):
    python = options.peers / "venv" / "bin" / "python"
    found = subprocess.run([python, "-c", "import onnxruntime; print(onnxruntime.__version__)"], capture_output=True, text=True)
    folder = next(iter(sorted(options.peers.glob("llama_cpp_python-*/"))), None)
    llama = folder.name.split("-")[-1] if folder else "unknown"
    return f"ggml as in llama-cpp-python {llama} (repacked MXFP4), ONNX Runtime {found.stdout.strip()} (QMoE, MXFP4)"


def picture(results):
    """Bars of GFLOP/s: for each work, threads and rows one for each contender."""
    colours = {"mxhal mxint8": "#0072b2", "mxhal bf16": "#56b4e9", "ggml": "#d55e00", "ONNX Runtime": "#e69f00"}
    bar, width, left = 11, 560, 150
    parts, y = [], 30
    for place, (name, colour) in enumerate(colours.items()):
        x = left + 150 * place
        parts.append(f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/><text x="{x + 16}" y="18">{name}</text>')
    for (work, threads), result in results.items():
        rates = {key: FLOPS[work] * key[1] / statistics.median(times) / 1e9 for key, times in result["seconds"].items()}
        most = max(rates.values())
        y += 26
        named = "1 thread" if threads == 1 else f"{threads} threads"
        parts.append(f'<text x="8" y="{y - 8}" font-weight="bold">{TITLE[work]}; {named}: GFLOP/s</text>')
        for rows in ROWS[work]:
            parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{rows}</text>')
            for name in [f"mxhal {scheme}" for scheme in SCHEMES] + PEERS[work]:
                length = width * rates[name, rows] / most
                parts.append(
                    f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{colours[name]}"/>'
                    f'<text x="{left + length + 4:.1f}" y="{y + 8}" font-size="9">{rates[name, rows]:.0f}</text>'
                )
                y += bar
            y += 5
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {y + 10}" width="800" height="{y + 10}" '
        f'font-family="sans-serif" font-size="12"><title>GFLOP/s of mxhal and its peers</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def sections():
    """What the page has before the measured part, and after it."""
    text = PAGE.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{PAGE} has no place for what is measured: {BEGIN} and {END}, once each")
    return text.split(BEGIN)[0], text.split(END)[1]


def main():
    options = arguments()
    sections()
    results = {}
    for threads in map(int, options.threads.split(",")):
        for work in ROWS:
            results[work, threads] = measure(options, work, threads)
    # Read only now: somebody may have written on it meanwhile.
    before, after = sections()
    PICTURE.write_text(picture(results))
    PAGE.write_text(f"{before}{BEGIN}\n\n{page(options, results)}\n\n{END}{after}")
    print(f"{PAGE} and {PICTURE} are written")


if __name__ == "__main__":
    main()
