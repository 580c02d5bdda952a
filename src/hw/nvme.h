// SPDX-License-Identifier: BSD-3-Clause
// NVM Express 1.4: controller registers, queue entries, data structures. Section numbers are those of "NVM Express Base
// Specification" revision 1.4.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::nvme {

// clang-format off
inline constexpr std::uint16_t kVendorId = 0x1b36, kDeviceId = 0x0010;  // QEMU's NVM Express controller
inline constexpr std::uint16_t kSubsystemVendorId = 0x1af4, kSubsystemId = 0x1100;
inline constexpr std::uint32_t kClassCode = 0x010802;
inline constexpr std::uint64_t kBarBytes = 16 << 10;
inline constexpr std::uint64_t kDoorbells = 0x1000;  // 3.1.24; stride 4: tail of queue 0, head of 0, tail of 1...
inline constexpr std::uint32_t kMsixTable = 0x2000, kMsixPba = 0x3000;

// ---- registers (3.1)
inline constexpr Register kCapabilities{0x00, 8, RegisterAccess::ro, 0, Layout{"nvme.cap", "3.1.1", {
    {"MQES",   15, 0,  "entries of a queue, less 1"},
    {"CQR",    16, 16, "queues are contiguous"},
    {"AMS",    18, 17, "arbitration besides round robin"},
    {"TO",     31, 24, "to become ready, in 500 ms"},
    {"DSTRD",  35, 32, "doorbell stride: 2^(2 + n) bytes"},
    {"NSSRS",  36, 36, "subsystem reset"},
    {"CSS",    44, 37, "command sets; bit 0: NVM"},
    {"BPS",    45, 45, "boot partitions"},
    {"MPSMIN", 51, 48, "smallest page: 2^(12 + n) bytes"},
    {"MPSMAX", 55, 52, "largest page"},
    {"PMRS",   56, 56, "persistent memory region"},
    {"CMBS",   57, 57, "controller memory buffer"},
}}};
inline constexpr Register kVersion{0x08, 4, RegisterAccess::ro, 0x10400, Layout{"nvme.vs", "3.1.2", {
    {"TERTIARY", 7,  0,  "tertiary version"},
    {"MINOR",    15, 8,  "minor version"},
    {"MAJOR",    31, 16, "major version"},
}}};
inline constexpr Register kMaskSet{0x0c, 4, RegisterAccess::rw, 0, Layout{"nvme.intms", "3.1.3", {
    {"VECTORS", 31, 0, "ones mask vectors (not of MSI-X)"},
}}};
inline constexpr Register kMaskClear{0x10, 4, RegisterAccess::rw, 0, Layout{"nvme.intmc", "3.1.4", {
    {"VECTORS", 31, 0, "ones unmask vectors"},
}}};
inline constexpr Register kConfiguration{0x14, 4, RegisterAccess::rw, 0, Layout{"nvme.cc", "3.1.5", {
    {"EN",     0,  0,  "enable"},
    {"CSS",    6,  4,  "command set; 0: NVM"},
    {"MPS",    10, 7,  "page: 2^(12 + n) bytes"},
    {"AMS",    13, 11, "arbitration; 0: round robin"},
    {"SHN",    15, 14, "shutdown: 1 normal, 2 abrupt"},
    {"IOSQES", 19, 16, "log2 of a submission entry's bytes"},
    {"IOCQES", 23, 20, "log2 of a completion entry's bytes"},
}}};
inline constexpr Register kStatus{0x1c, 4, RegisterAccess::ro, 0, Layout{"nvme.csts", "3.1.6", {
    {"RDY",   0, 0, "ready"},
    {"CFS",   1, 1, "fatal"},
    {"SHST",  3, 2, "shutdown: 0 none, 1 under way, 2 complete"},
    {"NSSRO", 4, 4, "subsystem reset occurred"},
    {"PP",    5, 5, "paused"},
}}};
inline constexpr Register kAdminAttributes{0x24, 4, RegisterAccess::rw, 0, Layout{"nvme.aqa", "3.1.8", {
    {"ASQS", 11, 0,  "entries of the admin submission queue, less 1"},
    {"ACQS", 27, 16, "entries of the admin completion queue, less 1"},
}}};
inline constexpr Register kAdminSubmission{0x28, 8, RegisterAccess::rw, 0, Layout{"nvme.asq", "3.1.9", {
    {"BASE", 63, 12, "address of the admin submission queue"},
}}};
inline constexpr Register kAdminCompletion{0x30, 8, RegisterAccess::rw, 0, Layout{"nvme.acq", "3.1.10", {
    {"BASE", 63, 12, "address of the admin completion queue"},
}}};
inline constexpr std::uint64_t kShutdownComplete = 2;

// ---- a submission queue entry: eight 64-bit words, little-endian (4.2)
inline constexpr unsigned kSubmissionLg2 = 6, kSubmissionWords = 8;
inline constexpr Layout kCommandWord{"nvme.sqe[0]", "4.2 figure 105", {
    {"OPC",  7,  0,  "opcode"},
    {"FUSE", 9,  8,  "fused operation"},
    {"PSDT", 15, 14, "data pointer: 0 PRPs, 1 and 2 SGL"},
    {"CID",  31, 16, "command identifier"},
    {"NSID", 63, 32, "namespace"},
}};
inline constexpr unsigned kWordPrp1 = 3, kWordPrp2 = 4;  // or the first SGL descriptor
inline constexpr unsigned kWord10 = 5, kWord12 = 6, kWord14 = 7;  // command dwords 10 and 11, ...

// ---- a completion queue entry: two words (4.6)
inline constexpr unsigned kCompletionLg2 = 4;
inline constexpr Layout kCompletionWord{"nvme.cqe[1]", "4.6 figure 122", {
    {"SQHD", 15, 0,  "head of the submission queue"},
    {"SQID", 31, 16, "submission queue"},
    {"CID",  47, 32, "command identifier"},
    {"P",    48, 48, "phase"},
    {"SC",   56, 49, "status code"},
    {"SCT",  59, 57, "status code type"},
    {"CRD",  61, 60, "retry delay"},
    {"M",    62, 62, "more in the error log"},
    {"DNR",  63, 63, "do not retry"},
}};

// ---- an SGL descriptor: two words (4.4)
inline constexpr std::uint64_t kSglBytes = 16;
inline constexpr Layout kSglWord{"nvme.sgl[1]", "4.4 figure 113", {
    {"LENGTH",  31, 0,  "bytes"},
    {"SUBTYPE", 59, 56, "0: the address is one"},
    {"TYPE",    63, 60, "0 data, 1 bit bucket, 2 segment, 3 last segment"},
}};
enum class Sgl : std::uint8_t { data = 0, bit_bucket = 1, segment = 2, last_segment = 3 };

// ---- opcodes (5, 6)
enum class Admin : std::uint8_t {
  delete_sq = 0x00, create_sq = 0x01, get_log_page = 0x02, delete_cq = 0x04, create_cq = 0x05, identify = 0x06,
  abort = 0x08, set_features = 0x09, get_features = 0x0a, async_event = 0x0c,
};
enum class Io : std::uint8_t { flush = 0x00, write = 0x01, read = 0x02, compare = 0x05, write_zeroes = 0x08, dsm = 0x09 };

// ---- status: type << 8 | code (4.6.1)
enum class Status : std::uint16_t {
  success = 0x000, invalid_opcode = 0x001, invalid_field = 0x002, data_transfer_error = 0x004, internal_error = 0x006,
  aborted = 0x007, invalid_namespace = 0x00b, sequence_error = 0x00c, invalid_sgl_segment = 0x00d,
  invalid_sgl_count = 0x00e, sgl_length_invalid = 0x00f, sgl_type_invalid = 0x011, invalid_prp_offset = 0x013,
  lba_out_of_range = 0x080,
  invalid_completion_queue = 0x100, invalid_queue_id = 0x101, invalid_queue_size = 0x102, async_limit = 0x105,
  invalid_vector = 0x108, invalid_log_page = 0x109, invalid_queue_deletion = 0x10c, not_saveable = 0x10d,
  write_fault = 0x280, read_error = 0x281, compare_failure = 0x285,
};

// ---- fields of command dwords
inline constexpr Layout kQueueDword{"nvme.queue dw10", "5.3, 5.4", {
    {"QID",   15, 0,  "queue"},
    {"QSIZE", 31, 16, "entries, less 1"},
}};
inline constexpr Layout kCreateCqDword{"nvme.create_cq dw11", "5.3", {
    {"PC",  0,  0,  "contiguous"},
    {"IEN", 1,  1,  "interrupts"},
    {"IV",  31, 16, "vector"},
}};
inline constexpr Layout kCreateSqDword{"nvme.create_sq dw11", "5.4", {
    {"PC",    0,  0,  "contiguous"},
    {"QPRIO", 2,  1,  "priority"},
    {"CQID",  31, 16, "its completion queue"},
}};
inline constexpr Layout kIdentifyDword{"nvme.identify dw10", "5.15", {
    {"CNS",    7,  0,  "structure"},
    {"CNTID",  31, 16, "controller"},
}};
inline constexpr Layout kLogDword{"nvme.get_log_page dw10, dw11", "5.14", {
    {"LID",  7,  0,  "page"},
    {"LSP",  11, 8,  "specific"},
    {"RAE",  15, 15, "keep the event"},
    {"NUMD", 47, 16, "dwords, less 1"},
    {"LSI",  63, 48, "specific"},
}};
inline constexpr Layout kFeatureDword{"nvme.features dw10", "5.13, 5.21", {
    {"FID", 7,  0,  "feature"},
    {"SEL", 10, 8,  "get: 0 current, 1 default, 2 saved, 3 capabilities"},
    {"SV",  31, 31, "set: save"},
}};
inline constexpr Layout kBlocksDword{"nvme.io dw12", "6.9, 6.15", {
    {"NLB", 15, 0,  "blocks, less 1"},
    {"DEAC", 25, 25, "write zeroes: deallocate"},
    {"PRINFO", 29, 26, "protection"},
    {"FUA", 30, 30, "durable before completion"},
    {"LR",  31, 31, "limited retry"},
}};
inline constexpr Layout kDsmDword{"nvme.dsm dw10, dw11", "6.7", {
    {"NR", 7,  0,  "ranges, less 1"},
    {"AD", 34, 34, "deallocate"},
}};
inline constexpr Layout kAsyncResult{"nvme.async_event dw0", "5.2", {
    {"TYPE", 2,  0,  "0 error, 1 health, 2 notice"},
    {"INFO", 15, 8,  "what"},
    {"LID",  23, 16, "log page"},
}};
// clang-format on

enum class Cns : std::uint8_t { name_space = 0, controller = 1, active = 2, descriptors = 3 };
enum class Log : std::uint8_t { error = 1, health = 2, firmware = 3, commands = 5 };
enum class Feature : std::uint8_t {
  arbitration = 1,
  power = 2,
  temperature = 4,
  error_recovery = 5,
  write_cache = 6,
  queues = 7,
  coalescing = 8,
  vector = 9,
  atomicity = 10,
  async_events = 11,
};
// Errors that an asynchronous event tells (5.2 figure 146).
enum class AsyncError : std::uint8_t { invalid_doorbell_register = 0, invalid_doorbell_value = 1 };

inline constexpr std::uint32_t kAllNamespaces = 0xffff'ffff;
inline constexpr std::uint64_t kIdentifyBytes = 4096;
inline constexpr std::uint64_t kRangeBytes = 16;  // of a dataset management range: attributes, blocks, first block

// Offsets in the Identify Controller structure (5.15.2.2).
namespace controller {
inline constexpr unsigned kVendor = 0, kSubsystemVendor = 2, kSerial = 4, kModel = 24, kFirmware = 64, kMdts = 77,
                          kControllerId = 78, kVersion = 80, kOaes = 92, kType = 111, kAbortLimit = 258,
                          kAsyncLimit = 259, kFirmwareUpdates = 260, kLogAttributes = 261, kErrorLog = 262,
                          kPowerStates = 263, kWarningTemperature = 266, kCriticalTemperature = 268, kSqEntry = 512,
                          kCqEntry = 513, kNamespaces = 516, kOptional = 520, kWriteCache = 525, kSgl = 536,
                          kSubsystemName = 768, kPowerState0 = 2048;
inline constexpr unsigned kSerialBytes = 20, kModelBytes = 40, kFirmwareBytes = 8, kSubsystemNameBytes = 256;
inline constexpr std::uint8_t kTypeIo = 1;
inline constexpr std::uint16_t kOptionalCompare = 1, kOptionalDsm = 4, kOptionalWriteZeroes = 8;
inline constexpr std::uint32_t kSglSupported = 1, kSglBitBucket = 1 << 16;
}  // namespace controller

// Offsets in the Identify Namespace structure (5.15.2.1).
namespace name_space {
inline constexpr unsigned kSize = 0, kCapacity = 8, kUsed = 16, kFeatures = 24, kFormats = 25, kDeallocated = 33,
                          kEui64 = 120, kFormat0 = 128;
inline constexpr std::uint8_t kFeatureThin = 1, kDeallocatedZeroes = 1 | 1 << 3;
inline constexpr unsigned kFormatDataShift = 16;  // log2 of a block's bytes, in an LBA format
}  // namespace name_space

// Offsets in the health log page (5.14.1.2).
namespace health {
inline constexpr unsigned kTemperature = 1, kSpare = 3, kSpareThreshold = 4, kUnitsRead = 32, kUnitsWritten = 48,
                          kReads = 64, kWrites = 80, kPowerCycles = 112, kErrorEntries = 176, kBytes = 512;
inline constexpr std::uint64_t kUnit = 1000 * 512;
}  // namespace health

// Offsets in an entry of the error log (5.14.1.1).
namespace error_entry {
inline constexpr unsigned kCount = 0, kQueue = 8, kCommand = 10, kStatus = 12, kLocation = 14, kLba = 16,
                          kNamespace = 24, kBytes = 64;
}  // namespace error_entry

}  // namespace softiommu::hw::nvme
