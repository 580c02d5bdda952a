#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that do not use VFIO give the same output and status in a run as without one.
# usage: plain.sh redirect|namespace
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
view=$1

# same NAME COMMAND...: run twice, each time in an empty folder of the same name.
same() {
  local name=$1 where
  shift
  for where in without within; do
    local before=() status=0
    [ $where = without ] || before=("$SOFTIOMMU" run --view "$view" --)
    rm -rf "$WORK/here" && mkdir "$WORK/here"
    (cd "$WORK/here" && timeout -k 2 120 "${before[@]}" "$@") \
      >"$WORK/$where.out" 2>"$WORK/$where.err" </dev/null || status=$?
    echo $status >"$WORK/$where.status"
  done
  for what in out err status; do
    cmp -s "$WORK/without.$what" "$WORK/within.$what" || {
      diff "$WORK/without.$what" "$WORK/within.$what" | head -n 20
      fail "$name: another $what"
    }
  done
  [ -s "$WORK/within.out" ] || [ -s "$WORK/within.err" ] || [ "$(cat "$WORK/within.status")" != 0 ] ||
    fail "$name: nothing to compare"
}

same coreutils bash -c 'ls -lan --time-style=full-iso /usr/share/misc /etc/passwd; sha256sum /bin/ls
  seq 20000 | sort -R --random-source=/bin/ls | sort -n | md5sum; cp -r /usr/share/perl5 copy 2>&1
  find copy -type f | sort | xargs -n 50 cat | wc; tar cf - copy --sort=name --mtime=@0 | sha256sum
  dd if=/dev/zero bs=64k count=64 status=none | tee zero | cksum; stat -c %s zero
  truncate -s 10 zero; od zero; ln -s zero link; readlink -f link'
same failing ls /nonexistent-file
same killed sh -c 'echo before; kill -9 $$'
same aborted python3 -c 'import os; os.abort()'
same pipeline bash -c 'yes | head -n 100000 | tail -n 3; exec 3<>/dev/null; ls /proc/self/fd | wc -l; ulimit -n
  trap "echo got; exit 7" USR1; kill -USR1 $$'
same descriptors python3 -c 'import os, socket
a, b = socket.socketpair(); a.sendall(b"x"); print(b.recv(9), [os.open("/dev/null", 0) for _ in range(3)])
r, w = os.pipe2(os.O_CLOEXEC); print(os.get_inheritable(r), sorted(os.listdir("/proc/self/fd"))[:4])'
same python3 python3 -c 'import hashlib, json, multiprocessing, mmap, subprocess, threading, zlib
def work(n): return hashlib.sha256(str(n).encode() * 1000).hexdigest()[:8]
m = mmap.mmap(-1, 1 << 20); m[:4] = b"abcd"; m.resize(1 << 21); print(m[:4], len(m))
with multiprocessing.get_context("fork").Pool(3) as pool: print(json.dumps(pool.map(work, range(50))))
out = []; ts = [threading.Thread(target=lambda i=i: out.append(work(i))) for i in range(20)]
[t.start() for t in ts]; [t.join() for t in ts]; print(sorted(out))
big = [bytes(100000) for _ in range(300)]; del big
print(subprocess.run(["sh", "-c", "echo $0 $1; exit 3", "a", "b"], capture_output=True), zlib.crc32(b"a" * 10**6))'
same git bash -c 'export HOME=$PWD GIT_AUTHOR_DATE="2001-01-01T00:00:00Z" GIT_COMMITTER_DATE="2001-01-01T00:00:00Z"
  git config --global user.name N; git config --global user.email n@example.org; git init -q -b main r; cd r
  for i in $(seq 30); do seq $i 400 >f$((i % 7)); git add -A; git commit -qm "change $i"; done
  git log --stat --oneline | tail -n 40; git gc -q; git fsck --full; git clone -q . ../c; git -C ../c rev-parse HEAD
  git grep -c 399; git status'
same compiler bash -c 'cat >p.cpp <<END
#include <map>
#include <iostream>
#include <thread>
int main(int n, char**) {
  std::map<int, int> m;
  for (int i = 0; i < 1000; ++i) m[i * 7 % 101] += i;
  std::thread t([&] { std::cout << m.size() << m[n] << std::endl; });
  t.join();
  return 5;
}
END
  g++ -std=c++17 -O2 -Wall -pthread -save-temps=obj -o p p.cpp && sha256sum p.o p | cut -c1-64 && ./p; echo $?
  g++ -c missing.cpp; echo "int x = y;" >bad.cpp; g++ -c bad.cpp'
same server python3 -c 'import hashlib, http.server, os, threading, urllib.request
for i in range(20): open(f"file{i}", "wb").write(os.urandom(0) + bytes([i]) * (i * 5000 + 1))
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
got = {}
def client(n):
    for i in range(20):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/file{(i + n) % 20}", timeout=30) as r:
            got[n, i] = hashlib.md5(r.read()).hexdigest()
ts = [threading.Thread(target=client, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]; server.shutdown(); print(sorted(got.items()))'
