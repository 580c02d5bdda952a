# SPDX-License-Identifier: BSD-3-Clause
"""Runs the benchmarks of a build folder and prints them beside their goals. usage: bench_table.py BUILD [JSON]"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

build, json_file = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
softiommu = os.path.join(build, "softiommu")
client = [os.path.join(build, "bench/vfio_calls"), "0000:00:06.0"]
nvme_device = "0000:00:08.0"
iommufd_client = [os.path.join(build, "bench/iommufd_calls"), "0000:00:06.0", "0000:01:00.0"]
rows = []


def row(name, value, unit, goal=None):
    rows.append({"row": name, "value": round(value, 2), "unit": unit, "goal": goal,
                 "met": None if goal is None else value <= goal})


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def values(text):
    """What a client prints: name=value lines."""
    return {name: float(value) for name, value in (line.split("=") for line in text.split())}


def instructions(program, function, mode):
    """Instructions of one call of `function`: the slope between two numbers of pairs, so that start-up falls out."""
    counts = []
    for pairs in (1000, 3000):
        with tempfile.TemporaryDirectory() as folder:
            output(softiommu, "run", "--", "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                   f"--toggle-collect={function}", *program, "count", str(pairs), *mode)
            with open(f"{folder}/out") as file:
                counts.append(int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M).group(1)))
    return (counts[1] - counts[0]) / 2000


def once_ms(command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


def wall_ms(command, runs):
    return statistics.median(once_ms(command) for _ in range(runs))


def exec_ms(execs=400, pairs=12):
    """What an exec costs more within a run: a run's own start falls out of each pair, and what drifts between them."""
    def of_execs(*prefix):
        took = [once_ms([*prefix, "sh", "-c", f"i=0; while [ $i -lt {n} ]; do /bin/true; i=$((i+1)); done"])
                for n in (execs, 0)]
        return took[0] - took[1]
    return statistics.median(of_execs(softiommu, "run", "--") - of_execs() for _ in range(pairs)) / execs


def google(program, *options):
    text = output(os.path.join(build, "bench", program), "--benchmark_format=json", "--benchmark_min_time=0.2", *options)
    return {entry["name"]: entry["cpu_time"] for entry in json.loads(text)["benchmarks"]}


for label, mode in (("beside another mapping", ()), ("alone in its tables", ("lone",))):
    row(f"MAP_DMA 4K, {label}", instructions(client, "map_page", mode), "instructions", 350)
    row(f"UNMAP_DMA 4K, {label}", instructions(client, "unmap_page", mode), "instructions", 350)
# A tenth of the kernel's own (7.2) where a device is attached.
for mode, map_goal, unmap_goal in (("attached", 620, 620), ("unattached", 350, 350)):
    row(f"IOAS_MAP 4K, {mode}", instructions(iommufd_client, "map_page", (mode,)), "instructions", map_goal)
    row(f"IOAS_UNMAP 4K, {mode}", instructions(iommufd_client, "unmap_page", (mode,)), "instructions", unmap_goal)


def timed(program):
    return values(output(softiommu, "run", "--", *program, "time"))


iommufd_rows = {"attach_detach_ns": ("attach an existing page table and detach", "ns", 1),
                "replace_ns": ("replace a page table, there and back", "ns", 1),
                "pair_4k_ns": ("IOAS_MAP and IOAS_UNMAP of 4K, a pair", "ns", 1),
                "pair_2m_ns": ("IOAS_MAP and IOAS_UNMAP of 2M, a pair", "ns", 1),
                "pair_1g_ns": ("IOAS_MAP and IOAS_UNMAP of 1 GiB, a pair", "ns", 1),
                "copy_1g_ns": ("IOAS_COPY of 1 GiB and its unmapping", "ns", 1),
                "fill_64g_ns": ("attach to 64 GiB of 4K pages: a new domain, and back", "ms", 1e6),
                "join_64g_ns": ("attach to 64 GiB of 4K pages: join the domain, and leave", "ns", 1)}
for name, value in timed(iommufd_client).items():
    label, unit, divisor = iommufd_rows[name]
    row(label, value / divisor, unit)
for name, value in timed(client).items():
    if name == "resident_kib":
        row("resident memory, device open, idle", value / 1024, "MB", 30)
    else:
        row({"pair_ns": "MAP_DMA and UNMAP_DMA of 4K, a pair", "mmio_read_ns": "trapped register read",
             "mmio_write_ns": "trapped register write, with the wake of the device"}[name], value, "ns")
nvme = values(output(softiommu, "run", "--", os.path.join(build, "bench/nvme_calls"), nvme_device))
row("NVMe read of 4 KiB: from the doorbell to the completion", nvme["doorbell_ns"] / 1000, "us")
for depth in (1, 32):
    row(f"NVMe random reads of 4 KiB, {depth} in flight", nvme[f"iops_{depth}"], "a second")
    seconds = re.search(r"completed in ([\d.]+) seconds", output(
        softiommu, "run", "--", "qemu-img", "bench", "-f", "raw", "-t", "none", "-d", str(depth), "-c", "20000", "-s", "4096",
        "-S", str(37 * 4096), f"nvme://{nvme_device}/1"))
    row(f"`qemu-img bench`, reads of 4 KiB, {depth} in flight", 20000 / float(seconds.group(1)), "a second")
other = os.path.join(build, "bench/other_calls")
alone, interposed = values(output(other)), values(output(softiommu, "run", "--", other))
for call, ns in interposed.items():
    row(f"`{call}` on a file that is none of ours, over the call alone ({alone[call]:.0f} ns)", ns - alone[call], "ns", 20)
# A static program, which the shim cannot enter; what it pays for calls that are not ours, beside the same outside.
supervised = [os.path.join(build, "bench/supervised_calls")]
outside, inside = values(output(*supervised)), values(output(softiommu, "run", "--", *supervised, "0000:00:06.0"))
for name, label in (("unrelated_ns", "a call that the filter does not name"),
                    ("read_ns", "a read of another file"), ("stat_ns", "a call with another path")):
    row(f"supervised: {label}, over the same outside", inside[name] - outside[name], "ns")
for name, label in (("ioctl_ns", "ioctl on a handle"), ("pread_ns", "pread of a register"),
                    ("mmio_read_ns", "trapped register read"), ("pair_ns", "MAP_DMA and UNMAP_DMA of 4K, a pair")):
    row(f"supervised: {label}", inside[name], "ns")
copies = google("machine_bench")
row("device copy, 64 B", copies["DeviceCopy/64"], "ns", 25)
row("memcpy, 64 B", copies["Memcpy/64"], "ns")
row("device copy, 4 KiB, over memcpy", copies["DeviceCopy/4096"] / copies["Memcpy/4096"], "times", 1.05)
row("join an existing domain and leave it", copies["JoinAndLeave"], "ns")
crowds = google("search_bench")
for groups in (16, 256, 4096):
    row(f"join, one of {groups} groups behind 64 units of four kinds", crowds[f"Join/{groups}"] / groups, "ns")
areas = google("area_bench", "--benchmark_filter=ChurnRandom<OurAreas>|Allocate")
for name, label in (("1000", "1 k"), ("100000", "100 k"), ("1000000", "1 M")):
    row(f"an area in or out at random, {label} live", areas[f"ChurnRandom<OurAreas>/{name}"], "ns", 100)
    row(f"IOVA allocation or free at random, {label} live", areas[f"Allocate/{name}"] / 2, "ns", 100)
row("`softiommu run -- true` over `true`", wall_ms([softiommu, "run", "--", "true"], 30) - wall_ms(["true"], 30), "ms", 50)
row("shim, per exec", exec_ms(), "ms", 0.1)
plain_programs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench/plain_programs.py")
for line in output(sys.executable, plain_programs, softiommu).splitlines():
    name, percent = line.split("=")
    row(f"a run of {name}, processor time over the same without", float(percent), "%", 2)

print("| row | figure | goal | met |\n|---|---|---|---|")
for r in rows:
    goal = "" if r["goal"] is None else f"≤ {r['goal']} {r['unit']}"
    met = {None: "", True: "yes", False: "**no**"}[r["met"]]
    print(f"| {r['row']} | {r['value']} {r['unit']} | {goal} | {met} |")
if json_file:
    with open(json_file, "w") as file:
        json.dump(rows, file, indent=1)
