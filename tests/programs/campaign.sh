#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# campaign.sh parallel|slurm: a campaign of two seeds in two parts each, run by GNU parallel or by Slurm on this node
# alone, and merged: it checks what one run of each seed checks. Skipped (77) where the batch system is not installed.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
: "${SOURCE:?}"
system=$1
SEEDS=2 SHARDS=2
export SHARDS SOFTIOMMU RESULTS=$WORK/results
export CHECK="--driver omap --sequences 1 --jobs 1"
mkdir "$RESULTS"

run_parallel() {
  command -v parallel >/dev/null || skip "GNU parallel (Debian: parallel) is not installed"
  # shellcheck disable=SC2086
  HOME=$WORK timeout 120 parallel --will-cite --jobs 2 "$SOFTIOMMU" check --seed "{1}" --shard "{2}/$SHARDS" \
    --format json $CHECK '>' "$RESULTS/seed-{1}-shard-{2}.json" ::: $(seq $SEEDS) ::: $(seq $SHARDS)
}

# One node, everything on the loopback interface and in $WORK, nobody authenticated. Processes are found through /proc
# and nothing is confined, so that no cgroup, no systemd and no munge is needed.
write_slurm_conf() {
  local host port
  host=$(hostname -s)
  port=$((20000 + $$ % 10000))
  cat >"$WORK/slurm.conf" <<CONF
ClusterName=campaign
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
MailProg=/bin/true
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES State=UP
CONF
  # Slurm 22.05 looks for a kind of cgroups, also when nothing uses them; it makes none.
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$WORK/cgroup.conf"
  mkdir "$WORK/state" "$WORK/spool"
}

DAEMONS=()
stop_slurm() {
  timeout 10 scancel --full --signal=KILL --user="$(id -un)" 2>/dev/null || true  # what is still running, on failure
  kill "${DAEMONS[@]}" 2>/dev/null || true
  wait "${DAEMONS[@]}" 2>/dev/null || true
  rm -rf "$WORK"
}

run_slurm() {
  local program
  for program in slurmctld slurmd sbatch sinfo; do
    command -v $program >/dev/null || skip "Slurm (Debian: slurm-wlm) is not installed"
  done
  write_slurm_conf
  export SLURM_CONF=$WORK/slurm.conf
  trap stop_slurm EXIT
  # They end by themselves should this test be killed.
  timeout 270 slurmctld -D >"$WORK/slurmctld.log" 2>&1 &
  DAEMONS+=($!)
  timeout 270 slurmd -D >"$WORK/slurmd.log" 2>&1 &
  DAEMONS+=($!)
  local ready=no
  for _ in $(seq 300); do
    sinfo --noheader --format %T 2>/dev/null | grep -q idle && ready=yes && break
    sleep 0.1
  done
  [ $ready = yes ] || skip "Slurm does not start here: $(tail -n 3 "$WORK/slurmctld.log" "$WORK/slurmd.log")"
  (cd "$WORK" && timeout 220 sbatch --wait --array=1-$((SEEDS * SHARDS)) --output="$WORK/task-%a.log" \
    "$SOURCE/examples/campaign/check.sbatch") || {
    cat "$WORK"/*.log >&2
    fail "the job array failed"
  }
}

"run_$system"
for seed in $(seq $SEEDS); do
  "$SOFTIOMMU" check --merge "$RESULTS/seed-$seed-shard-"*.json >"$WORK/merged"
  # shellcheck disable=SC2086
  "$SOFTIOMMU" check --seed "$seed" $CHECK >"$WORK/whole"
  diff "$WORK/whole" "$WORK/merged" || fail "the merged parts of seed $seed are not the whole"
done
