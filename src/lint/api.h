// SPDX-License-Identifier: BSD-3-Clause
// What functions outside the tree's IOMMU part answer, and why: the rows of external_apis.toml.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace softiommu::lint {

enum class ApiKind : unsigned char {
  code,      // 0 or a negative errno
  count,     // also positive on success
  firmware,  // a status of firmware or hardware, not an errno
  pointer,   // NULL on failure
  error_pointer,
  value,  // cannot fail, or its answer says nothing about failure
};

struct Api {
  std::string name;
  ApiKind kind = ApiKind::value;
  std::vector<std::string> errors;  // "any" when it depends on other code
  bool allocates_id = false;        // exhaustion of something that is not memory
  bool optional_feature = false;    // callers may go on without it
  std::string why, source;
};

class ApiTable {
 public:
  // The table that is built in.
  static const ApiTable& built_in();
  // False with a message when the text is not a table of APIs.
  bool parse(std::string_view toml, std::string& why);
  const Api* find(std::string_view name) const;
  std::size_t size() const { return rows_.size(); }

 private:
  std::unordered_map<std::string, Api> rows_;
};

}  // namespace softiommu::lint
