// SPDX-License-Identifier: BSD-3-Clause
// The machine file: TOML, read key by key against the tables of spec_keys.h and of the models. Every error says
// where, what is wrong and what would be right. The only file that sees the TOML library.
#include "machine/spec.h"

#include <fmt/format.h>

// Some of toml++'s assertions (3.3) are about what a file says ("[=]"): off, and never assumptions of the optimizer,
// which they would be with NDEBUG, they leave the answer to its checks behind them.
#undef NDEBUG
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>

#include "machine/machine.h"
#include "machine/option_text.h"
#include "machine/spec_checks.h"
#include "machine/spec_keys.h"

namespace softiommu {
namespace {

template <typename T = void>
using Parsed = std::expected<T, SpecError>;
using Keys = std::span<const Option>;

constexpr std::size_t kMostBytes = kMiB;  // of a machine file
constexpr std::string_view kSections[] = {"machine", "memory", "iommu", "bridge", "device", "platform_device"};

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

const Option* find_key(Keys keys, std::string_view key) {
  const auto at = std::ranges::find(keys, key, &Option::key);
  return at == keys.end() ? nullptr : &*at;
}

std::vector<std::string_view> key_names(Keys own, Keys others) {
  std::vector<std::string_view> names;
  for (const Keys keys : {own, others})
    for (const Option& key : keys) names.push_back(key.key);
  return names;
}

class Parser {
 public:
  Parser(std::string_view file, std::span<const UnitModel> extra_units, std::span<const DeviceModel> extra_devices)
      : file_(file), extra_units_(extra_units), extra_devices_(extra_devices) {}

  Parsed<MachineSpec> parse(std::string_view text);

 private:
  std::unexpected<SpecError> error(const toml::source_region& at, std::string what) const {
    return std::unexpected(SpecError{fmt::format("{}:{}:{}", file_, at.begin.line, at.begin.column), std::move(what)});
  }

  // Sections
  Parsed<> sections(const toml::table& root);
  Parsed<const toml::table*> single(const toml::table& root, std::string_view section);
  Parsed<std::vector<const toml::table*>> several(const toml::table& root, std::string_view section);
  Parsed<> iommu(const toml::table& table);
  Parsed<> bridge(const toml::table& table);
  Parsed<> device(const toml::table& table);
  Parsed<> platform_device(const toml::table& table);
  Parsed<> whole_machine();

  // Keys
  Parsed<> no_other_keys(const toml::table& table, std::string_view section, Keys own, Keys others) const;
  Parsed<Options> read(const toml::table& table, Keys keys) const;
  template <class Model>
  Parsed<Options> read_model(const toml::table& table, const Model& model) const;
  Parsed<> read_one(const toml::node& node, const Option& option, Options& values) const;
  Parsed<std::uint64_t> number(const toml::node& node, const Option& option) const;
  Parsed<std::string> text(const toml::node& node, const Option& option) const;
  Parsed<Bdf> address(const toml::table& table, const Options& values) const;
  Parsed<std::vector<std::uint8_t>> aliases(const toml::table& table) const;
  template <class Model>
  Parsed<const Model*> model(const toml::table& table, std::string_view section, Keys own,
                             std::initializer_list<std::span<const Model>> tables) const;

  std::unexpected<SpecError> mismatch(const toml::node& node, const Option& option, std::string_view has) const {
    return error(node.source(), fmt::format("{} takes {}, not {}", option.key, accepted(option), has));
  }

  Parsed<std::string> as_ascii(std::string_view text) const;

  std::string_view file_;
  std::span<const UnitModel> extra_units_;
  std::span<const DeviceModel> extra_devices_;
  MachineSpec spec_;
  // Where the entries of spec_ stand, by section and position.
  std::vector<const toml::table*> memory_at_, iommus_at_, bridges_at_, devices_at_, platform_at_;
};

// Any text may stand in a comment line; elsewhere a machine file is ASCII. (toml++ 3.3 runs into unreachable code for
// some other characters, so it never sees them.)
Parsed<std::string> Parser::as_ascii(std::string_view text) const {
  std::string ascii(text);
  toml::source_position at{1, 1};
  bool in_comment = false, line_is_blank = true;
  for (char& c : ascii) {
    if (c == '#' && line_is_blank) in_comment = true;
    if ((static_cast<unsigned char>(c) & 0x80u) != 0) {
      if (!in_comment) return error({at, at, {}}, "outside of comment lines a machine file is plain ASCII");
      c = '?';
    }
    line_is_blank = line_is_blank && (c == ' ' || c == '\t');
    ++at.column;
    if (c != '\n') continue;
    at = {at.line + 1, 1};
    in_comment = false;
    line_is_blank = true;
  }
  return ascii;
}

Parsed<MachineSpec> Parser::parse(std::string_view text) {
  const std::string ascii = TRY(as_ascii(text));
  const toml::parse_result result = toml::parse(ascii, file_);
  if (!result) return error(result.error().source(), std::string(result.error().description()));
  TRY(sections(result.table()));
  TRY(whole_machine());
  return std::move(spec_);
}

Parsed<> Parser::sections(const toml::table& root) {
  for (const auto& [key, node] : root) {
    if (std::ranges::find(kSections, key.str()) != std::end(kSections)) continue;
    return error(key.source(), fmt::format("there is no section \"{}\"{}", key.str(),
                                           suggestion(key.str(), {std::begin(kSections), std::end(kSections)})));
  }
  static const toml::table kAbsent;
  const auto* machine = TRY(single(root, "machine"));
  const auto* memory = TRY(single(root, "memory"));
  TRY(no_other_keys(machine ? *machine : kAbsent, "[machine]", spec_keys::kMachine, {}));
  const Options about = TRY(read(machine ? *machine : kAbsent, spec_keys::kMachine));
  spec_.name = about.text("name");
  spec_.isolated_msi = about.flag("isolated_msi");
  spec_.cache_coherent = about.flag("cache_coherent");
  spec_.device_latency_ns = about["device_latency_us"] * 1000;

  TRY(no_other_keys(memory ? *memory : kAbsent, "[memory]", spec_keys::kMemory, {}));
  const Options sizes = TRY(read(memory ? *memory : kAbsent, spec_keys::kMemory));
  spec_.memory = {.top = sizes["top"], .table_arena = sizes["table_arena"], .fragmented = sizes.flag("fragmented")};
  memory_at_ = {memory};

  for (const toml::table* table : TRY(several(root, "iommu"))) TRY(iommu(*table));
  for (const toml::table* table : TRY(several(root, "bridge"))) TRY(bridge(*table));
  for (const toml::table* table : TRY(several(root, "device"))) TRY(device(*table));
  for (const toml::table* table : TRY(several(root, "platform_device"))) TRY(platform_device(*table));
  return {};
}

Parsed<const toml::table*> Parser::single(const toml::table& root, std::string_view section) {
  const toml::node* node = root.get(section);
  if (!node || node->is_table()) return node ? node->as_table() : nullptr;
  return error(node->source(), fmt::format("{0} is {1}: there is one, written [{0}]", section, type_name(*node)));
}

Parsed<std::vector<const toml::table*>> Parser::several(const toml::table& root, std::string_view section) {
  std::vector<const toml::table*> tables;
  const toml::node* node = root.get(section);
  if (!node) return tables;
  if (!node->is_array())
    return error(node->source(),
                 fmt::format("{0} is {1}: there may be several, so each is written [[{0}]], with two brackets", section,
                             type_name(*node)));
  for (const toml::node& item : *node->as_array()) {
    if (!item.is_table())
      return error(item.source(),
                   fmt::format("{} holds {}: each is written [[{}]]", section, type_name(item), section));
    tables.push_back(item.as_table());
  }
  return tables;
}

// The model comes first: it says which other keys there are.
template <class Model>
Parsed<const Model*> Parser::model(const toml::table& table, std::string_view section, Keys own,
                                   std::initializer_list<std::span<const Model>> tables) const {
  const toml::node* node = table.get("model");
  std::vector<std::string_view> names;
  for (const auto& models : tables)
    for (const Model& candidate : models) names.push_back(candidate.name);
  if (!node) {
    for (const auto& [key, value] : table)  // perhaps it is there, misspelt
      if (!find_key(own, key.str()) && nearest(key.str(), {"model"}) == "model")
        return std::unexpected(no_other_keys(table, section, own, {}).error());
    return error(table.source(), fmt::format("{} needs a model{}", section, suggestion("", names)));
  }
  const std::string wanted = TRY(text(*node, *find_key(own, "model")));
  for (const auto& models : tables)
    for (const Model& candidate : models)
      if (candidate.name == wanted) return &candidate;
  return error(node->source(), fmt::format("there is no model \"{}\"{}", wanted, suggestion(wanted, names)));
}

Parsed<> Parser::iommu(const toml::table& table) {
  const auto* hardware = TRY(model<UnitModel>(table, "[[iommu]]", spec_keys::kIommu, {extra_units_, unit_models()}));
  TRY(no_other_keys(table, "[[iommu]]", spec_keys::kIommu, hardware->options));
  const Options own = TRY(read(table, spec_keys::kIommu));
  spec_.units.push_back({own.text("name"), own.text("model"), TRY(read_model(table, *hardware))});
  iommus_at_.push_back(&table);
  return {};
}

Parsed<> Parser::bridge(const toml::table& table) {
  TRY(no_other_keys(table, "[[bridge]]", spec_keys::kBridge, {}));
  const Options own = TRY(read(table, spec_keys::kBridge));
  const auto kind = static_cast<BridgeSpec::Kind>(own["kind"]);
  if (const toml::node* acs = table.get("acs"); acs && kind == BridgeSpec::Kind::pcie_to_pci)
    return error(acs->source(), "a PCIe-to-PCI bridge has no ACS to switch on or off: leave the key out");
  spec_.bridges.push_back({.bdf = TRY(address(table, own)),
                           .kind = kind,
                           .secondary_bus = static_cast<std::uint8_t>(own["bus"]),
                           .acs = own.flag("acs"),
                           .unit = own.text("iommu")});
  bridges_at_.push_back(&table);
  return {};
}

Parsed<> Parser::device(const toml::table& table) {
  const auto* hardware =
      TRY(model<DeviceModel>(table, "[[device]]", spec_keys::kDevice, {extra_devices_, device_models()}));
  TRY(no_other_keys(table, "[[device]]", spec_keys::kDevice, hardware->options));
  const Options own = TRY(read(table, spec_keys::kDevice));
  const TranslationServices services{.ats = own.flag("ats"),
                                     .pri = own.flag("pri"),
                                     .pasid_bits = static_cast<unsigned>(own["pasid_bits"]),
                                     .stalls = own.flag("stalls")};
  if (services.pri && (!services.ats || own.text("model") != "edu"))
    return error(table.get("pri")->source(), "`pri` needs `ats = true` and a model that waits for pages: `edu`");
  if (own["vfs"] != 0 && !hardware->virtual_functions)
    return error(table.get("vfs")->source(),
                 fmt::format("the model \"{}\" has no virtual functions here: use edu or ioat", own.text("model")));
  spec_.functions.push_back({.bdf = TRY(address(table, own)),
                             .model = own.text("model"),
                             .unit = own.text("iommu"),
                             .options = TRY(read_model(table, *hardware)),
                             .dma_alias_devfns = TRY(aliases(table)),
                             .acs = own.flag("acs"),
                             .services = services,
                             .rom = own.text("rom"),
                             .vfs = static_cast<unsigned>(own["vfs"])});
  devices_at_.push_back(&table);
  return {};
}

Parsed<> Parser::platform_device(const toml::table& table) {
  TRY(no_other_keys(table, "[[platform_device]]", spec_keys::kPlatformDevice, {}));
  const Options own = TRY(read(table, spec_keys::kPlatformDevice));
  PlatformSpec device{.name = own.text("name"), .unit = own.text("iommu"), .streams = {}, .stalls = own.flag("stalls")};
  for (std::uint64_t ids = own["streams"]; ids != 0; ids &= ids - 1)
    device.streams.push_back(static_cast<StreamId>(std::countr_zero(ids)));
  spec_.platform_devices.push_back(std::move(device));
  platform_at_.push_back(&table);
  return {};
}

Parsed<> Parser::whole_machine() {
  const std::optional<Complaint> complaint = first_fault(spec_);
  if (!complaint) return {};
  const std::vector<const toml::table*>* const places[] = {&memory_at_, &iommus_at_, &bridges_at_, &devices_at_,
                                                           &platform_at_};
  const toml::table* table = (*places[static_cast<std::size_t>(complaint->section)])[complaint->index];
  const toml::node* node = table ? table->get(complaint->key) : nullptr;
  return error(node    ? node->source()
               : table ? table->source()
                       : toml::source_region{{1, 1}, {1, 1}, {}},
               complaint->what);
}

Parsed<> Parser::no_other_keys(const toml::table& table, std::string_view section, Keys own, Keys others) const {
  for (const auto& [key, node] : table) {
    if (find_key(own, key.str()) || find_key(others, key.str())) continue;
    return error(key.source(), fmt::format("{} has no key \"{}\"{}", section, key.str(),
                                           suggestion(key.str(), key_names(own, others))));
  }
  for (const Option& key : own)
    if (key.required && !table.contains(key.key))
      return error(table.source(), fmt::format("{} needs the key {}: {}", section, key.key, accepted(key)));
  return {};
}

Parsed<Options> Parser::read(const toml::table& table, Keys keys) const {
  Options values(keys);
  for (const Option& option : keys)
    if (const toml::node* node = table.get(option.key)) TRY(read_one(*node, option, values));
  return values;
}

template <class Model>
Parsed<Options> Parser::read_model(const toml::table& table, const Model& model) const {
  Options values = TRY(read(table, model.options));
  const Result<> fits = model.check ? model.check(values) : Result<>{};
  if (fits) return values;
  const std::string_view why = fits.error().why;
  const toml::node* node = table.get(why.substr(0, why.find(':')));
  return error(node ? node->source() : table.source(), std::string(why));
}

Parsed<> Parser::read_one(const toml::node& node, const Option& option, Options& values) const {
  switch (option.kind) {
    case Option::Kind::integer:
    case Option::Kind::size:
      values.set(option.key, TRY(number(node, option)));
      return {};
    case Option::Kind::flag:
      if (!node.is_boolean()) return mismatch(node, option, type_name(node));
      values.set(option.key, node.as_boolean()->get() ? 1 : 0);
      return {};
    case Option::Kind::choice: {
      const auto* number = node.as_integer();  // `output_bits = 48` is as good as "48"
      if (!number && !node.is_string()) return mismatch(node, option, type_name(node));
      const std::string word = number ? fmt::format("{}", number->get()) : node.as_string()->get();
      const auto words = choices_of(option);
      const auto at = std::ranges::find(words, word);
      if (at == words.end())
        return error(node.source(), fmt::format("{} cannot be \"{}\"{}", option.key, word, suggestion(word, words)));
      values.set(option.key, static_cast<std::uint64_t>(at - words.begin()));
      return {};
    }
    case Option::Kind::text:
      values.set_text(option.key, TRY(text(node, option)));
      return {};
    case Option::Kind::list:
    case Option::Kind::texts:
      break;
  }
  if (!node.is_array()) return mismatch(node, option, type_name(node));
  std::uint64_t bits = 0;
  std::string words;
  for (const toml::node& item : *node.as_array()) {
    if (option.kind == Option::Kind::list)
      bits |= std::uint64_t{1} << (TRY(number(item, option)) % 64);
    else
      words += (words.empty() ? "" : " ") + TRY(text(item, option));
  }
  if (option.kind == Option::Kind::list)
    values.set(option.key, bits);
  else
    values.set_text(option.key, std::move(words));
  return {};
}

Parsed<std::uint64_t> Parser::number(const toml::node& node, const Option& option) const {
  std::uint64_t value = 0;
  if (const auto* integer = node.as_integer()) {
    if (integer->get() < 0) return mismatch(node, option, fmt::format("{}", integer->get()));
    value = static_cast<std::uint64_t>(integer->get());
  } else if (const auto* string = node.as_string(); string && option.kind == Option::Kind::size) {
    const std::optional<std::uint64_t> size = parse_size(string->get());
    if (!size)
      return mismatch(node, option, fmt::format("\"{}\": write digits and then nothing, K, M, G or T", string->get()));
    value = *size;
  } else {
    return mismatch(node, option, type_name(node));
  }
  const bool listed = option.kind == Option::Kind::list && !option.choices.empty();
  const auto choices = choices_of(option);
  if (value < option.min || value > option.max ||
      (listed && std::ranges::find(choices, fmt::format("{}", value)) == choices.end()))
    return mismatch(node, option, option.kind == Option::Kind::size ? size_text(value) : fmt::format("{}", value));
  return value;
}

Parsed<std::string> Parser::text(const toml::node& node, const Option& option) const {
  if (!node.is_string()) return mismatch(node, option, type_name(node));
  return node.as_string()->get();
}

Parsed<Bdf> Parser::address(const toml::table& table, const Options& values) const {
  if (const std::optional<Bdf> bdf = Bdf::parse(values.text("address"))) return *bdf;
  return error(table.get("address")->source(),
               fmt::format("\"{}\" is no PCI address: write segment:bus:device.function in hexadecimal, device 00 to "
                           "1f, function 0 to 7, "
                           "as in \"0000:00:1c.0\"",
                           values.text("address")));
}

Parsed<std::vector<std::uint8_t>> Parser::aliases(const toml::table& table) const {
  std::vector<std::uint8_t> devfns;
  const toml::node* node = table.get("dma_aliases");
  if (!node) return devfns;
  for (const toml::node& item : *node->as_array()) {
    const std::string word = item.as_string()->get();
    const std::optional<Bdf> on_any_bus = Bdf::parse("00:" + word);
    if (!on_any_bus || word.size() != 4)
      return error(
          item.source(),
          fmt::format("\"{}\" is no alias: write device.function of the device's own bus, as in \"05.1\"", word));
    devfns.push_back(on_any_bus->devfn());
  }
  return devfns;
}

}  // namespace

std::expected<MachineSpec, SpecError> parse_machine(std::string_view toml, std::string_view file_name) {
  return parse_machine(toml, file_name, {}, {});
}

std::expected<MachineSpec, SpecError> parse_machine(std::string_view toml, std::string_view file_name,
                                                    std::span<const UnitModel> extra_units,
                                                    std::span<const DeviceModel> extra_devices) {
  try {
    return Parser(file_name, extra_units, extra_devices).parse(toml);
  } catch (const std::bad_alloc&) {
    return std::unexpected(SpecError{std::string(file_name), "out of memory"});
  }
}

std::expected<MachineSpec, SpecError> load_machine(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMostBytes + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad() || (file.gcount() == 0 && errno != 0))
    return std::unexpected(SpecError{path, fmt::format("cannot be read: {}", std::strerror(errno))});
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMostBytes)
    return std::unexpected(
        SpecError{path, fmt::format("is larger than {}: that is no machine file", size_text(kMostBytes))});
  return parse_machine(text, path);
}

}  // namespace softiommu
