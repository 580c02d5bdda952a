// SPDX-License-Identifier: BSD-3-Clause
// A shared library that is no plugin.
extern "C" [[gnu::visibility("default")]] int no_plugin() { return 0; }
