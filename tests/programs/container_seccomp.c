/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a program as a container engine's default seccomp profile would: what needs a capability that containers do
 * not have fails with EPERM, clone3 with ENOSYS. Stricter than the real profile on newer kernels: ptrace and
 * process_vm_readv are refused as well.
 *
 * usage: container_seccomp PROGRAM ARGS...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const kRefused[] = {
    "acct",          "add_key",         "bpf",             "clock_adjtime",     "clock_settime",     "delete_module",
    "finit_module",  "fsconfig",        "fsmount",         "fsopen",            "fspick",            "get_mempolicy",
    "init_module",   "ioperm",          "iopl",            "kcmp",              "kexec_file_load",   "kexec_load",
    "keyctl",        "lookup_dcookie",  "mbind",           "mount",             "mount_setattr",     "move_mount",
    "move_pages",    "name_to_handle_at", "open_by_handle_at", "open_tree",     "perf_event_open",   "pivot_root",
    "process_vm_readv", "process_vm_writev", "ptrace",     "quotactl",          "reboot",            "request_key",
    "set_mempolicy", "setns",           "settimeofday",    "swapoff",           "swapon",            "umount2",
    "unshare",       "userfaultfd",     "vhangup",
};

static int refuse(scmp_filter_ctx filter) {
  const unsigned long namespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                                   CLONE_NEWNET | CLONE_NEWCGROUP;
  for (size_t i = 0; i < sizeof kRefused / sizeof kRefused[0]; i++) {
    int number = seccomp_syscall_resolve_name(kRefused[i]);
    if (number < 0) continue; /* not of this architecture */
    int error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    if (error != 0) return error;
  }
  for (unsigned bit = 0; bit < 32; bit++) {
    unsigned long flag = 1ul << bit;
    if ((namespaces & flag) == 0) continue;
    int error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    if (error != 0) return error;
  }
  return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: container_seccomp PROGRAM ARGS...\n");
    return 2;
  }
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  int error = filter == NULL ? -ENOMEM : refuse(filter);
  if (error == 0) error = seccomp_load(filter);
  if (error != 0) {
    fprintf(stderr, "container_seccomp: %s\n", strerror(-error));
    return 125;
  }
  execvp(argv[1], argv + 1);
  perror(argv[1]);
  return 127;
}
