// SPDX-License-Identifier: BSD-3-Clause
// Names that driver code uses by convention.
#include <algorithm>
#include <array>
#include <cctype>

#include "lint/walk.h"

namespace softiommu::lint {
namespace {

template <std::size_t N>
bool contains_any(std::string_view text, const std::array<std::string_view, N>& pieces) {
  return std::any_of(pieces.begin(), pieces.end(),
                     [text](std::string_view piece) { return text.find(piece) != std::string_view::npos; });
}

template <std::size_t N>
bool starts_with_any(std::string_view text, const std::array<std::string_view, N>& pieces) {
  return std::any_of(pieces.begin(), pieces.end(), [text](std::string_view piece) { return text.starts_with(piece); });
}

constexpr std::array<std::string_view, 17> kLoud = {
    "dev_err", "dev_warn",  "dev_info", "dev_notice", "dev_crit", "dev_alert", "dev_emerg", "pr_err",    "pr_warn",
    "pr_info", "pr_notice", "pr_crit",  "pci_err",    "pci_warn", "pci_info",  "printk",    "dev_printk"};
constexpr std::array<std::string_view, 5> kDebug = {"dev_dbg", "pr_debug", "pci_dbg", "pr_devel", "dev_vdbg"};
constexpr std::array<std::string_view, 13> kChanges = {
    "detach",          "block_translation", "identity_attach",       "disable_translation", "remove_dev_pasid",
    "unregister_ioat", "domain_remove_dev", "clear_entry",           "disable_context",     "context_clear",
    "remove_device",   "device_block",      "blocking_domain_attach"};
constexpr std::array<std::string_view, 7> kUndo = {"attach",   "restore",       "rollback", "undo",
                                                   "reenable", "register_ioat", "revert"};
constexpr std::array<std::string_view, 36> kTidy = {
    "free",   "put",        "disable", "detach", "release", "unmap",   "flush",  "sync",     "inv",
    "cancel", "unregister", "remove",  "clear",  "print",   "dump",    "unlock", "lock",     "wait",
    "reset",  "destroy",    "del",     "drain",  "suspend", "tlb",     "erase",  "exit",     "shutdown",
    "mutex",  "trace",      "set_bit", "stop",   "undo",    "cleanup", "block",  "teardown", "deinit"};

}  // namespace

LogLevel log_level(std::string_view callee) {
  if (starts_with_any(callee, kDebug)) return LogLevel::debug;
  if (starts_with_any(callee, kLoud)) return LogLevel::loud;
  return LogLevel::none;
}

bool is_errno(std::string_view word) {
  return word.size() >= 3 && word[0] == 'E' && std::all_of(word.begin(), word.end(), [](char c) {
           return std::isupper(static_cast<unsigned char>(c)) || std::isdigit(static_cast<unsigned char>(c));
         });
}

bool changes_state(std::string_view callee) { return contains_any(callee, kChanges); }
bool undoes(std::string_view callee) {
  return contains_any(callee, kUndo) && callee.find("detach") == std::string_view::npos &&
         callee.find("identity") == std::string_view::npos && callee.find("unregister") == std::string_view::npos;
}
bool tidies_up(std::string_view callee) { return contains_any(callee, kTidy); }

bool set_up_by_attach(std::string_view field) {
  static constexpr std::array<std::string_view, 12> kFields = {"smmu", "mmu",       "iommu",     "viommu",
                                                               "iop",  "pgtbl_ops", "finalized", "bank",
                                                               "data", "sdev",      "use_count", "m4u_dom"};
  return std::find(kFields.begin(), kFields.end(), field) != kFields.end();
}

bool named_like_code(std::string_view variable) {
  static constexpr std::array<std::string_view, 8> kNames = {"ret",    "err", "rc",     "error",
                                                             "result", "r",   "retval", "res"};
  return std::find(kNames.begin(), kNames.end(), variable) != kNames.end();
}

}  // namespace softiommu::lint
