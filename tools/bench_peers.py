# SPDX-License-Identifier: BSD-3-Clause
"""Runs Linux's page-table code and softiommu's alternately and prints the ratios beside their goals (bench/peers/).

usage: bench_peers.py --candidate LIBRARY --runner PROGRAM [--alone PROGRAM] [--peers FOLDER] [--runs N] [--rounds N] [--cpu N] [--shape NAME]
                      [--group NAME] [--json FILE] [--svg FILE]
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict

# How many times faster than the best build of the best peer a row has to be.
GOALS = {
    "map 1x4K (table present)": 2, "unmap 1x4K (table present)": 2, "map 256x4K run": 3,
    "map 1GiB as 4K (one call)": 4, "unmap 1GiB as 4K (one call)": 1.5, "unmap 1GiB as 2M pages, fresh table": 1,
    "map 1GiB as 2M over leftover empty leaf tables": 10, "map 64GiB as 4K (one call), cold": 1.5,
    "map 64GiB as 4K (one call), recycled": 3, "iova_to_phys seq 1GiB/4K": 1.5, "iova_to_phys rand 1GiB/4K": 1.3,
    "iova_to_phys rand 1GiB/2M": 1.3, "iova_to_phys seq 64GiB/4K": 1.5, "iova_to_phys rand 64GiB/4K": 1.3,
    "dirty read+clear 1GiB/4K all dirty": 1.6, "dirty read+clear 1GiB/4K all clean": 4,
    "dirty read+clear 1GiB/4K 1% dirty": 4,
}
LEAST = 1  # of every other row
OURS = "softiommu"
# Formats with other page sizes or widths are compared with their own kind only.
OWN_CLASS = ("v7s", "dart")


# What Linux 6.12 calls the formats.
SAME_FORMAT = {"intel": "vtdss", "amd": "amdv1"}


def class_of(shape):
    return next((name for name in OWN_CLASS if shape.startswith(name)), "large")


class Samples:
    """(class, operation) -> (who, shape, build) -> [[minima of each start], [medians of each start]]"""

    def __init__(self):
        self.of = defaultdict(lambda: defaultdict(lambda: ([], [])))

    def add(self, who, build, text):
        for line in text.splitlines():
            shape, operation, median, minimum, _ = line.split("\t")
            minima, medians = self.of[class_of(shape), operation][who, shape, build]
            minima.append(float(minimum))
            medians.append(float(median))

    def best(self, key, ours):
        """[(minimum, median, label)] with the better build of each shape, fastest first."""
        found = {}
        for (who, shape, build), (minima, medians) in self.of[key].items():
            if (who == OURS) == ours:
                label = shape if ours else f"{shape}, Linux {who}, {build}"
                entry = (min(minima), statistics.median(medians), label)
                found[who, shape] = min(found.get((who, shape), entry), entry)
        return sorted(found.values())


def measure(options):
    programs = []
    for path in sorted(glob.glob(os.path.join(options.peers or "/nonexistent", "bin/pt-*-*"))):
        kernel, build = os.path.basename(path).split("-")[1:]
        programs.append(({"new": "7.x", "old": "6.12"}[kernel], build, [path], "-"))
    programs.append((OURS, "", [options.runner], os.path.realpath(options.candidate)))
    samples = Samples()

    def start(program, rounds, shape, group):
        who, build, command, library = program
        arguments = [str(rounds), shape, library] + ([group] if group else [])
        pinned = ["taskset", "-c", str(options.cpu)] + command + arguments
        done = subprocess.run(pinned, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(pinned)}: {done.stderr.strip() or done.returncode}")
        samples.add(who, build, done.stdout)
        return done.stdout

    shapes = {}
    for run in range(options.runs):
        print(f"run {run + 1} of {options.runs}", file=sys.stderr)
        for program in programs:
            text = start(program, options.rounds, options.shape, options.group)
            shapes[program[:2]] = dict.fromkeys(line.split("\t")[0] for line in text.splitlines() if "2M" in line)
    if not options.group:
        # A process each: only the first mapping of a process is cold.
        print("64 GiB", file=sys.stderr)
        for program in programs * options.runs_64g:
            for shape in shapes[program[:2]]:
                start(program, 3, shape, "64g")
    return samples


def measure_alone(program):
    text = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return [{"row": name, "value": float(value), "unit": unit}
            for name, value, unit in (line.split("\t") for line in text.splitlines())]


def number(ns):
    if ns >= 1e6:
        return f"{ns / 1e6:.2f}M"
    if ns >= 1e4:
        return f"{ns / 1e3:.1f}k"
    return f"{ns:.0f}" if ns >= 100 else f"{ns:.1f}"


def rows_of(samples):
    """One row an operation and class: the best peer beside our slowest and fastest format."""
    rows = []
    for (kind, operation) in samples.of:
        peers, ours = samples.best((kind, operation), False), samples.best((kind, operation), True)
        if not ours:
            continue
        name = operation if kind == "large" else f"{kind}: {operation}"
        row = {"row": name, "ours": {label: {"min": low, "median": median} for low, median, label in ours}}
        if peers:
            low, median, label = peers[0]
            goal = GOALS.get(operation, LEAST) if kind == "large" else LEAST
            row |= {"peer": {"name": label, "min": low, "median": median}, "goal": goal,
                    "ratio": low / ours[-1][0], "ratio_median": median / max(entry[1] for entry in ours),
                    "best_ratio": low / ours[0][0]}
            row["met"] = row["ratio"] >= goal
            of_format = {}
            for low, _, label in peers:
                shape = label.split(",")[0]
                of_format.setdefault(SAME_FORMAT.get(shape, shape), low)
            row["same_format"] = {label: of_format[label] / low for low, _, label in ours if label in of_format}
        rows.append(row)
    return sorted(rows, key=lambda row: row["row"].startswith(OWN_CLASS))


def print_table(rows):
    if not any("peer" in row for row in rows):
        print("| operation | softiommu, minimum / median in ns, by format |\n|---|---|")
        for row in rows:
            print(f"| {row['row']} | " + ", ".join(
                f"{name} {number(v['min'])} / {number(v['median'])}" for name, v in row["ours"].items()) + " |")
        return
    print("| operation | best peer, ns: minimum / median | softiommu, slowest format | ratio | of medians "
          "| fastest format | ratio | least ratio to the peers of the same format | goal | met |\n"
          "|---|---|---|---:|---:|---|---:|---|---:|---|")
    for row in rows:
        if "peer" not in row:
            continue
        ours = list(row["ours"].items())
        slow, fast = ours[-1], ours[0]
        least = min(row["same_format"].items(), key=lambda entry: entry[1], default=None)
        met = "yes" if row["met"] else f"**no**: {row['ratio'] / row['goal'] * 100 - 100:.0f} %"
        print(f"| {row['row']} | {number(row['peer']['min'])} / {number(row['peer']['median'])} ({row['peer']['name']}) "
              f"| {number(slow[1]['min'])} / {number(slow[1]['median'])} ({slow[0]}) | {row['ratio']:.2f} "
              f"| {row['ratio_median']:.2f} | {number(fast[1]['min'])} ({fast[0]}) | {row['best_ratio']:.2f} "
              f"| {f'{least[1]:.2f} ({least[0]})' if least else ''} "
              f"| {row['goal']} | {met} |")


def plot(rows, path):
    """Bars from 1 (the best peer) on a logarithmic scale, with a line at each goal."""
    import math
    rows = [row for row in rows if "peer" in row]
    left, width, step = 360, 520, 18
    scale = width / math.log10(max(100.0, *(row["best_ratio"] * 1.2 for row in rows)) / 0.5)
    x = lambda ratio: left + scale * math.log10(max(ratio, 0.5) / 0.5)
    height = step * len(rows) + 50
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height}" '
           'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="8" y="16" font-size="13">best peer\'s time / softiommu\'s (slowest format; light: fastest); '
           'red lines: goals</text>']
    for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if x(tick) <= left + width:
            out.append(f'<line x1="{x(tick):.1f}" y1="26" x2="{x(tick):.1f}" y2="{height - 18}" stroke="#ccc"/>'
                       f'<text x="{x(tick):.1f}" y="{height - 5}" text-anchor="middle">{tick}</text>')
    for index, row in enumerate(rows):
        y = 30 + step * index
        color = "#2a7" if row["met"] else "#c73"
        name = row["row"].replace("&", "&amp;").replace("<", "&lt;")
        out.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{name}</text>')
        for ratio, shade in ((row["best_ratio"], 0.35), (row["ratio"], 1)):
            low, high = sorted((x(1), x(ratio)))
            out.append(f'<rect x="{low:.1f}" y="{y + 2}" width="{high - low:.1f}" height="{step - 6}" fill="{color}" '
                       f'fill-opacity="{shade}"/>')
        out.append(f'<line x1="{x(row["goal"]):.1f}" y1="{y}" x2="{x(row["goal"]):.1f}" y2="{y + step - 2}" stroke="red"/>')
    with open(path, "w") as file:
        file.write("\n".join(out + ["</svg>\n"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidate", required=True, help="libpeer_candidate.so")
    parser.add_argument("--runner", required=True, help="pt-candidate, the program that loads it")
    parser.add_argument("--alone", help="pt_bench: rows that have no peer")
    parser.add_argument("--peers", help="the cache folder that bench/peers/build.sh filled")
    parser.add_argument("--runs", type=int, default=5, help="how often the programs are started in turn")
    parser.add_argument("--runs-64g", type=int, default=2, help="the same for the rows of 64 GiB")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in each start")
    parser.add_argument("--cpu", type=int, default=os.cpu_count() - 1)
    parser.add_argument("--shape", default="all")
    parser.add_argument("--group", default="", help="as in bench/peers/pt_bench.cpp")
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    rows = rows_of(measure(options))
    print_table(rows)
    if options.alone and not options.group:
        alone = measure_alone(options.alone)
        print("\n| row | figure |\n|---|---:|")
        for row in alone:
            print(f"| {row['row']} | {row['value']} {row['unit']} |")
        rows += alone
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    if options.svg and any("peer" in row for row in rows):
        plot(rows, options.svg)


main()
