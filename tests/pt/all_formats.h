// SPDX-License-Identifier: BSD-3-Clause
// Every format in each configuration that it declares, as a list of test types. A new format adds one line here.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <utility>

#include "pt/formats/arm_lpae.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/formats/x86_64.h"

namespace softiommu::pt {

using Formats = std::tuple<VtdSecondStage, X86_64, ArmLpae>;

template <class F, std::size_t Index>
struct Case {
  using Format = F;
  static constexpr typename F::Config kConfig = F::kConfigurations[Index];
  static std::string name() { return std::string(F::kName) + "_" + std::to_string(Index); }
};

template <class F, std::size_t... Index>
auto cases_of(std::index_sequence<Index...>) -> std::tuple<Case<F, Index>...>;
template <class F>
using CasesOf = decltype(cases_of<F>(std::make_index_sequence<std::size(F::kConfigurations)>{}));

template <class Tuple>
struct Join;
template <class... F>
struct Join<std::tuple<F...>> {
  using Type = decltype(std::tuple_cat(std::declval<CasesOf<F>>()...));
};
template <class Tuple>
struct ToTypes;
template <class... T>
struct ToTypes<std::tuple<T...>> {
  using Type = ::testing::Types<T...>;
};

using AllCases = ToTypes<Join<Formats>::Type>::Type;

// Those that follow dirty state.
template <class C>
using IfDirty = std::conditional_t<C::Format::shape(C::kConfig)->dirty.mask != 0, std::tuple<C>, std::tuple<>>;
template <class... C>
auto dirty_cases(std::tuple<C...>) -> decltype(std::tuple_cat(std::declval<IfDirty<C>>()...));
using DirtyCases = ToTypes<decltype(dirty_cases(std::declval<Join<Formats>::Type>()))>::Type;

struct CaseName {
  template <class T>
  static std::string GetName(int) {
    return T::name();
  }
};

}  // namespace softiommu::pt
