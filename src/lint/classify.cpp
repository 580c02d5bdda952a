// SPDX-License-Identifier: BSD-3-Clause
#include "lint/classify.h"

#include <algorithm>
#include <array>

namespace softiommu::lint {
namespace {

// A parameter's type says whose state it is. Order matters: Intel's device_domain_info is the device's.
struct TypeRow {
  std::string_view piece;
  Reads reads;
};
constexpr std::array<TypeRow, 26> kTypes = {
    {{"domain_info", kReadsDevice}, {"device_domain", kReadsDevice}, {"dev_data", kReadsDevice},
     {"domain", kReadsDomain},      {"smmu_as", kReadsDomain},       {"struct device", kReadsDevice},
     {"_device", kReadsDevice},     {"pci_dev", kReadsDevice},       {"zpci_dev", kReadsDevice},
     {"master", kReadsDevice},      {"fwspec", kReadsDevice},        {"intel_iommu", kReadsDevice},
     {"_iommu ", kReadsDevice},     {"_iommu*", kReadsDevice},       {"mmu", kReadsDevice},
     {"dart", kReadsDevice},        {"sysmmu", kReadsDevice},        {"endpoint", kReadsDevice},
     {"viommu_dev", kReadsDevice},  {"client", kReadsDevice},        {"group", kReadsDevice},
     {"owner", kReadsDevice},       {"arch_data", kReadsDevice},     {"pamu", kReadsDevice},
     {"_sdev", kReadsDevice},       {"iommu_dev", kReadsDevice}}};

// These answer with the state of the device, whatever else they are given.
constexpr std::array<std::string_view, 7> kOfDevice = {
    "iommu_get_domain_for_dev", "dev_iommu_priv_get", "dev_iommu_fwspec_get", "iommu_driver_get_domain_for_dev",
    "iommu_get_dma_domain",     "iommu_group_get",    "dev_get_drvdata"};

Reads reads_of_type(const Parameter& parameter) {
  if (parameter.name.starts_with("old") || parameter.name.starts_with("prev")) return kReadsDevice;
  for (const TypeRow& row : kTypes)
    if (parameter.type.find(row.piece) != std::string_view::npos) return row.reads;
  return kReadsNeither;
}

bool is_log(std::string_view name) {
  return name.starts_with("dev_err") || name.starts_with("dev_warn") || name.starts_with("dev_dbg") ||
         name.starts_with("dev_info") || name.starts_with("pr_");
}

}  // namespace

const char* reads_name(Reads reads) {
  static constexpr std::array<const char*, 4> kNames = {"neither domain nor device", "domain state", "device state",
                                                        "domain and device state"};
  return kNames[reads & kReadsBoth];
}

Origins::Origins(const Function& function) {
  for (const Parameter& parameter : function.parameters) names_[parameter.name] = reads_of_type(parameter);
  for (int round = 0; round < 4 && learn(function.body); ++round) continue;
}

bool Origins::add(std::string_view name, Reads reads) {
  Reads& known = names_[name];
  const Reads before = known;
  known = static_cast<Reads>(known | reads);
  return known != before;
}

bool Origins::learn(const Node* node) {
  if (node == nullptr) return false;
  bool changed = false;
  if (node->kind == Kind::declaration && !node->kids.empty()) changed |= add(node->text, of(node->kids[0]));
  if (node->kind == Kind::assign && node->kids.size() == 2 && node->kids[0]->kind == Kind::identifier)
    changed |= add(node->kids[0]->text, of(node->kids[1]));
  if (node->kind == Kind::assign && node->kids.size() == 2 && node->kids[0]->kind == Kind::member &&
      node->kids[1]->kind == Kind::call)
    members_[flat_source(*node->kids[0])] = of(node->kids[1]);
  if (node->kind == Kind::call && !is_log(node->text)) {
    const bool iterator = node->text.find("for_each") != std::string_view::npos;
    for (std::size_t i = 1; i < node->kids.size(); ++i) {
      const Node* argument = node->kids[i];
      const bool result =
          argument->kind == Kind::unary && argument->text == "&" && argument->kids[0]->kind == Kind::identifier;
      if (result) changed |= add(argument->kids[0]->text, of(node));
      if (iterator && argument->kind == Kind::identifier) changed |= add(argument->text, of(node));
    }
  }
  for (const Node* kid : node->kids) changed |= learn(kid);
  return changed;
}

Reads Origins::of(const Node* expression) const {
  if (expression == nullptr || expression->kind == Kind::type || expression->kind == Kind::string) return kReadsNeither;
  if (expression->kind == Kind::identifier) {
    const auto found = names_.find(expression->text);
    return found == names_.end() ? kReadsNeither : found->second;
  }
  if (expression->kind == Kind::member)
    if (const auto filled = members_.find(flat_source(*expression)); filled != members_.end()) return filled->second;
  if (expression->kind == Kind::call &&
      std::find(kOfDevice.begin(), kOfDevice.end(), expression->text) != kOfDevice.end())
    return kReadsDevice;
  Reads reads = kReadsNeither;
  const std::size_t first = expression->kind == Kind::call ? 1 : 0;
  for (std::size_t i = first; i < expression->kids.size(); ++i)
    reads = static_cast<Reads>(reads | of(expression->kids[i]));
  if (expression->kind == Kind::call && expression->kids[0]->kind == Kind::member)  // ops->f(): the object counts too
    reads = static_cast<Reads>(reads | of(expression->kids[0]));
  return reads;
}

bool always_leaves(const Node* statement) {
  if (statement == nullptr) return false;
  switch (statement->kind) {
    case Kind::return_:
    case Kind::goto_:
    case Kind::break_:
    case Kind::continue_:
      return true;
    case Kind::block:
    case Kind::scoped:
      return !statement->kids.empty() && always_leaves(statement->kids.back());
    case Kind::if_:
      return statement->kids.size() == 3 && always_leaves(statement->kids[1]) && always_leaves(statement->kids[2]);
    default:
      return false;
  }
}

bool in_default_case(const Node* node) {
  for (const Node *child = node, *parent = node->parent; parent != nullptr; child = parent, parent = parent->parent) {
    if (parent->kind != Kind::block || parent->parent == nullptr || parent->parent->kind != Kind::switch_) continue;
    const Node* label = nullptr;
    for (const Node* sibling : parent->kids) {
      if (sibling == child) break;
      if (sibling->kind == Kind::case_) label = sibling;
    }
    return label != nullptr && label->text == "default";
  }
  return false;
}

std::vector<Guard> guards_of(const Node* node) {
  std::vector<Guard> guards;
  const Node* last_exit = nullptr;
  for (const Node *child = node, *parent = node->parent; parent != nullptr; child = parent, parent = parent->parent) {
    if (parent->kind == Kind::if_ && child != parent->kids[0])
      guards.push_back({parent->kids[0], child == parent->kids[1]});
    if (parent->kind == Kind::ternary && child != parent->kids[0])
      guards.push_back({parent->kids[0], child == parent->kids[1]});
    if (parent->kind == Kind::switch_ && child != parent->kids[0]) guards.push_back({parent->kids[0], true});
    if (parent->kind == Kind::loop && parent->text == "while" && child == parent->kids.back())
      guards.push_back({parent->kids[0], true});
    if (parent->kind != Kind::block) continue;
    for (const Node* sibling : parent->kids) {
      if (sibling == child) break;
      if (sibling->kind == Kind::if_ && always_leaves(sibling->kid(1))) last_exit = sibling->kids[0];
    }
    if (guards.empty() && last_exit != nullptr && parent->parent == nullptr) guards.push_back({last_exit, false});
  }
  return guards;
}

std::string guard_text(const Guard& guard) {
  const std::string text = flat_source(*guard.condition);
  return guard.holds ? text : "!(" + text + ")";
}

}  // namespace softiommu::lint
