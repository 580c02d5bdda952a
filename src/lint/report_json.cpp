// SPDX-License-Identifier: BSD-3-Clause
// JSON of our own, and SARIF 2.1.0 for editors and code review.
#include <nlohmann/json.hpp>

#include "lint/report.h"

namespace softiommu::lint {
namespace {

// Sources may hold bytes that are no UTF-8; they become the replacement character.
std::string text_of(const nlohmann::json& value) {
  return value.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

using nlohmann::json;

json step_json(const Step& step) { return {{"function", step.function}, {"file", step.file}, {"line", step.line}}; }

json steps_json(const std::vector<Step>& steps) {
  json out = json::array();
  for (const Step& step : steps) out.push_back(step_json(step));
  return out;
}

json location(const std::string& file, std::uint32_t line, const std::string& text) {
  json out = {{"physicalLocation",
               {{"artifactLocation", {{"uri", file}, {"uriBaseId", "SRCROOT"}}}, {"region", {{"startLine", line}}}}}};
  if (!text.empty()) out["message"] = {{"text", text}};
  return out;
}

json sarif_result(const Finding& finding) {
  std::string text = finding.message;
  if (!finding.condition.empty()) text += ". When: " + finding.condition + " (reads " + finding.reads + ")";
  if (!finding.suggestion.empty()) text += ". Suggested: " + finding.suggestion;
  json flow = json::array();
  for (const Step& step : finding.path) flow.push_back({{"location", location(step.file, step.line, step.function)}});
  json related = json::array();
  for (const Step& step : finding.related) related.push_back(location(step.file, step.line, step.function));
  return {{"ruleId", finding.rule->id},
          {"level", severity_name(finding.severity)},
          {"message", {{"text", text}}},
          {"locations", json::array({location(finding.file, finding.line, "")})},
          {"codeFlows", json::array({{{"threadFlows", json::array({{{"locations", flow}}})}}})},
          {"relatedLocations", related},
          {"partialFingerprints", {{"softiommu/v1", finding.fingerprint}}},
          {"properties", {{"driver", finding.driver}}}};
}

}  // namespace

std::string report_json(const Judgement& judgement) {
  const Statistics& statistics = judgement.statistics;
  json findings = json::array();
  for (const Finding& finding : judgement.findings)
    findings.push_back({{"rule", finding.rule->id},
                        {"severity", severity_name(finding.severity)},
                        {"driver", finding.driver},
                        {"file", finding.file},
                        {"line", finding.line},
                        {"function", finding.function},
                        {"message", finding.message},
                        {"condition", finding.condition},
                        {"reads", finding.reads},
                        {"suggestion", finding.suggestion},
                        {"path", steps_json(finding.path)},
                        {"related", steps_json(finding.related)},
                        {"fingerprint", finding.fingerprint}});
  json ways = json::array();
  for (const Way& way : judgement.ways)
    ways.push_back({{"driver", way.driver},
                    {"callback", way.callback},
                    {"code", way.code},
                    {"source", way.source},
                    {"condition", way.condition},
                    {"reads", way.reads},
                    {"fresh", way.fresh},
                    {"path", steps_json(way.path)},
                    {"logs", steps_json(way.logs)},
                    {"changes", steps_json(way.changes)}});
  const json out = {{"version", statistics.version},
                    {"ways_to_fail", ways},
                    {"findings", findings},
                    {"summary",
                     {{"files", statistics.files},
                      {"functions", statistics.functions},
                      {"understood", statistics.understood},
                      {"callbacks", statistics.callbacks},
                      {"tables", statistics.roots},
                      {"reached", statistics.reached},
                      {"failures", statistics.failures},
                      {"not_understood", statistics.not_understood},
                      {"unresolved", statistics.unresolved},
                      {"cut_files", statistics.cut_files},
                      {"unknown_tables", statistics.unknown_tables},
                      {"bounded", statistics.bounded},
                      {"unknown_externals", statistics.unknown_externals}}}};
  return text_of(out);
}

std::string report_sarif(const Judgement& judgement) {
  json rows = json::array();
  for (const Rule& rule : rules())
    rows.push_back({{"id", rule.id},
                    {"shortDescription", {{"text", rule.title}}},
                    {"fullDescription", {{"text", rule.explanation}}},
                    {"help", {{"text", std::string(rule.explanation) + " Source: " + std::string(rule.citation)}}},
                    {"defaultConfiguration", {{"level", severity_name(rule.severity)}}}});
  json results = json::array();
  for (const Finding& finding : judgement.findings) results.push_back(sarif_result(finding));
  json notes = json::array();
  for (const std::string& text : judgement.statistics.not_understood)
    notes.push_back({{"level", "note"}, {"message", {{"text", "not understood: " + text}}}});
  const json run = {
      {"tool", {{"driver", {{"name", "softiommu lint"}, {"version", SOFTIOMMU_VERSION}, {"rules", rows}}}}},
      {"invocations", json::array({{{"executionSuccessful", true}, {"toolExecutionNotifications", notes}}})},
      {"columnKind", "utf16CodeUnits"},
      {"results", results}};
  const json out = {
      {"$schema", "https://json.schemastore.org/sarif-2.1.0.json"}, {"version", "2.1.0"}, {"runs", json::array({run})}};
  return text_of(out);
}

}  // namespace softiommu::lint
