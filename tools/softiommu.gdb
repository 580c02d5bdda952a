# SPDX-License-Identifier: BSD-3-Clause
# For gdb on a program of a run:  softiommu run -- gdb -x softiommu.gdb --args PROGRAM ARGS...
#
# An access to a mapped BAR is a SIGSEGV that the engine answers; gdb need not see it. From the moment when the engine is
# loaded gdb lets SIGSEGV and SIGBUS pass, and stops where the engine finds that a fault is the program's own: `up` to
# the frame below <signal handler called>.
set breakpoint pending on

break softiommu_engine
commands
  silent
  handle SIGSEGV nostop noprint pass
  handle SIGBUS nostop noprint pass
  continue
end

break softiommu_program_fault
commands
  silent
  echo softiommu: a fault of the program's own; the frame is below <signal handler called>\n
  backtrace
end
