// SPDX-License-Identifier: BSD-3-Clause
#include "lint/judge.h"

#include <algorithm>
#include <array>
#include <deque>
#include <functional>

#include "lint/earlier.h"
#include "lint/judge_rules.h"

namespace softiommu::lint {
namespace {

bool names_one_of(std::string_view text, std::initializer_list<std::string_view> pieces) {
  return std::any_of(pieces.begin(), pieces.end(),
                     [text](std::string_view piece) { return text.find(piece) != std::string_view::npos; });
}

// The functions of the core through which every attach passes.
constexpr std::array<std::string_view, 16> kCore = {"iommu_attach_device",        "iommu_attach_group",
                                                    "__iommu_attach_device",      "__iommu_attach_group",
                                                    "iommu_attach_group_handle",  "iommu_replace_group_handle",
                                                    "iommu_group_replace_domain", "iommu_deferred_attach",
                                                    "__iommu_device_set_domain",  "__iommu_group_set_domain_internal",
                                                    "iommu_attach_device_pasid",  "iommu_replace_device_pasid",
                                                    "__iommu_set_group_pasid",    "iommu_attach_device_pasid_handle",
                                                    "iommu_do_attach_device",     "iommu_group_do_attach_device"};

std::string place(const SourceFile& file, std::uint32_t line) {
  return line == 0 ? file.path : file.path + ":" + std::to_string(line);
}

void gather(const Tree& tree, std::string_view field, std::vector<Root>& roots, std::vector<std::string>& unresolved) {
  for (const OpsEntry* entry : tree.entries(field)) {
    const Function* function = tree.resolve(entry->function, entry->file);
    if (function == nullptr) {
      unresolved.push_back(place(*entry->file, entry->line) + ": " + std::string(entry->function));
      continue;
    }
    Root root;
    root.function = function;
    root.field = std::string(field);
    root.holder = std::string(entry->holder);
    root.line = entry->line;
    root.file = entry->file;
    root.fixed_kind = names_one_of(root.holder, {"identity", "block", "nested", "sva", "svm"}) ||
                      names_one_of(function->name, {"identity", "block", "nested", "sva", "svm"});
    roots.push_back(std::move(root));
  }
}

// Everything reachable, with the call that reached it first.
struct Reached {
  std::map<const Function*, std::vector<Site>> path;
  std::map<const Function*, const Root*> root;
};

Reached reach(const std::vector<Root>& roots, Analysis& analysis) {
  Reached reached;
  std::deque<const Function*> waiting;
  for (const Root& root : roots)
    if (reached.root.emplace(root.function, &root).second) {
      reached.path[root.function] = {};
      waiting.push_back(root.function);
    }
  while (!waiting.empty()) {
    const Function* function = waiting.front();
    waiting.pop_front();
    for (const auto& [site, callee] : analysis.of(*function).calls) {
      if (tidies_up(callee->name) || !reached.root.emplace(callee, reached.root[function]).second) continue;
      auto path = reached.path[function];
      path.push_back(site);
      reached.path[callee] = std::move(path);
      waiting.push_back(callee);
    }
  }
  return reached;
}

std::string driver_of_root(const Root& root) {
  return driver_of(root.core ? root.function->file->path : root.file->path);
}

Statistics count(const Tree& tree, const Selection& selection) {
  Statistics statistics;
  statistics.version = tree.version();
  for (const SourceFile& file : tree.files()) {
    if (!selection.takes(driver_of(file.path))) continue;
    ++statistics.files;
    statistics.cut_files += !file.complaints.empty();
    for (const MacroTable& table : file.macro_tables)
      if (!tree.knows_macro(table.macro))
        statistics.unknown_tables.push_back(place(file, table.line) + ": " + std::string(table.name) + " by " +
                                            std::string(table.macro));
    for (const Complaint& complaint : file.complaints)
      statistics.not_understood.push_back(place(file, complaint.line) + ": " + complaint.what);
    for (const Function& function : file.functions) {
      ++statistics.functions;
      statistics.understood += function.complaints.empty();
      for (const Complaint& complaint : function.complaints)
        statistics.not_understood.push_back(place(file, complaint.line) + ": " + complaint.what + " in " +
                                            std::string(function.name));
    }
  }
  return statistics;
}

}  // namespace

std::vector<Root> find_roots(const Tree& tree, std::vector<std::string>& unresolved) {
  std::vector<Root> roots;
  gather(tree, "attach_dev", roots, unresolved);
  gather(tree, "set_dev_pasid", roots, unresolved);
  for (const SourceFile& file : tree.files()) {
    if (driver_of(file.path) != "core") continue;
    for (const Function& function : file.functions)
      if (std::find(kCore.begin(), kCore.end(), function.name) != kCore.end())
        roots.push_back({&function, "core", "", function.line, &file, false, true});
  }
  return roots;
}

bool Selection::takes(std::string_view driver) const {
  return patterns.empty() || std::any_of(patterns.begin(), patterns.end(),
                                         [driver](const auto& pattern) { return matches(pattern, driver); });
}

std::set<std::string> known_drivers(const Tree& tree) {
  std::set<std::string> names;
  std::vector<std::string> unresolved;
  for (const Root& root : find_roots(tree, unresolved)) names.insert(driver_of_root(root));
  return names;
}

Judgement judge(const Tree& tree, const ApiTable& apis, const Selection& selection) {
  Judgement judgement;
  judgement.statistics = count(tree, selection);
  Statistics& statistics = judgement.statistics;
  judgement.roots = find_roots(tree, statistics.unresolved);
  std::erase_if(judgement.roots, [&](const Root& root) { return !selection.takes(driver_of_root(root)); });
  Analysis analysis(tree, apis);
  Findings findings;
  std::set<const Function*> callbacks;
  for (const Root& root : judgement.roots) {
    callbacks.insert(root.function);
    const Summary& summary = analysis.of(*root.function);
    statistics.failures += summary.failures.size();
    for (Outcome outcome : summary.failures) {
      if (outcome.source == Source::literal) outcome.strikes = Earlier(analysis, outcome).judge();
      judge_outcome(root, outcome, findings);
      judgement.ways.push_back(way_of(root, outcome));
    }
  }
  const Reached reached = reach(judgement.roots, analysis);
  for (const auto& [function, root] : reached.root)
    for (const Loss& loss : analysis.of(*function).losses) judge_loss(*root, reached.path.at(function), loss, findings);
  statistics.roots = judgement.roots.size();
  statistics.callbacks = callbacks.size();
  statistics.reached = reached.root.size();
  for (const auto& [function, summary] : analysis.summaries())
    if (summary.bounded)
      statistics.bounded.push_back(place(*function->file, function->line) + ": " + std::string(function->name));
  statistics.unknown_externals = analysis.unknown_externals();
  judgement.findings = findings.take();
  return judgement;
}

}  // namespace softiommu::lint
