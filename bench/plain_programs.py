# SPDX-License-Identifier: BSD-3-Clause
"""What a run costs programs that do not use VFIO: percent of their processor time, name=value lines.
usage: plain_programs.py SOFTIOMMU [PAIRS]

Each pair is the same program without and within a run, back to back, in turns; the figure is the median of the pairs'
ratios."""
import os
import resource
import statistics
import subprocess
import sys
import tempfile

softiommu, pairs = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 9
run = [softiommu, "run", "--"]

SOURCE = "#include <map>\n#include <regex>\n#include <iostream>\nint main() { std::map<int, std::regex> m; std::cout << m.size(); }\n"
PYTHON = """
import hashlib, json
table = {}
for i in range(150000):
    table[hashlib.md5(str(i).encode()).hexdigest()] = [i, str(i)]
print(len(json.dumps(sorted(table.items()))))
"""
SERVER = """
import http.server, threading, urllib.request
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
def client():
    for i in range(100):
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/a.cpp", timeout=30).read()
threads = [threading.Thread(target=client) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]; server.shutdown()
"""
GIT = """rm -rf r; git init -q -b main r; cd r
git config user.name N; git config user.email n@example.org
for i in 1 2 3 4 5 6 7 8; do seq $i 60000 >f$i; git add -A; git commit -qm $i; done
for i in 1 2 3 4; do git log -p >/dev/null; done; git gc -q"""
COREUTILS = """for i in 1 2 3; do seq 300000 | sort -R | sort -n | md5sum; done; seq 2000 | xargs -n 20 echo | wc
dd if=/dev/zero bs=4k count=50000 status=none | cat | cksum"""

PROGRAMS = {"coreutils": ["sh", "-c", COREUTILS], "python3": [sys.executable, "-c", PYTHON], "git": ["sh", "-c", GIT],
            "g++": ["g++", "-std=c++17", "-O1", "-c", "a.cpp"], "threaded web server": [sys.executable, "-c", SERVER]}


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(command, folder):
    begin = used()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return used() - begin


with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "a.cpp"), "w") as file:
        file.write(SOURCE)
    for name, command in PROGRAMS.items():
        ratios = []
        for pair in range(pairs):
            both = [command, [*run, *command]]
            order = (0, 1) if pair % 2 == 0 else (1, 0)
            took = {which: seconds(both[which], folder) for which in order}
            ratios.append(took[1] / took[0])
        print(f"{name}={(statistics.median(ratios) - 1) * 100:.2f}")
