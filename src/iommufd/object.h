// SPDX-License-Identifier: BSD-3-Clause
// The objects of one iommufd context: ids, kinds, who uses whom.
//
// An object that another one (or an open file) uses cannot be destroyed: EBUSY. Ids are the lowest free number from 1;
// that of an object which ended with another one is not given again. Not thread-safe: the context's lock guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "base/result.h"

namespace softiommu::iommufd {

class Object {
 public:
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  std::uint32_t id() const { return id_; }
  bool in_use() const { return users_ != 0; }
  void use() { ++users_; }
  void unuse() { --users_; }

 protected:
  Object() = default;

 private:
  friend class ObjectTable;
  std::uint32_t id_ = 0;
  unsigned users_ = 0;
};

// nullptr: the object is of another kind. What no class derives from is told by one comparison.
template <class T>
T* as(Object* object) {
  if constexpr (std::is_final_v<T>)
    return object != nullptr && typeid(*object) == typeid(T) ? static_cast<T*>(object) : nullptr;
  else
    return dynamic_cast<T*>(object);
}

class ObjectTable {
 public:
  // Gives the object an id and owns it. ENOMEM (it is destroyed then).
  template <class T>
  Result<T*> add(std::unique_ptr<T> object) {
    T* const added = object.get();
    TRY(insert(std::move(object)));
    return added;
  }
  // nullptr: no object of that id, or one of another kind.
  Object* find(std::uint32_t id) const { return id < slots_.size() ? slots_[id].object.get() : nullptr; }
  template <class T>
  T* find(std::uint32_t id) const {
    return as<T>(find(id));
  }
  // ENOENT: no such object; EBUSY: something uses it. The caller ends its life, after what it holds is let go.
  Result<std::unique_ptr<Object>> take(std::uint32_t id);
  // The object ends although the program did not ask: its id stays taken, by nothing.
  std::unique_ptr<Object> bury(std::uint32_t id);
  // Ends every object, none before those that use it.
  void clear();
  bool empty() const { return count_ == 0; }

  // In the order of ids.
  template <class T, class Visitor>
  void for_each(Visitor&& visit) const {
    for (const Slot& slot : slots_)
      if (auto* const object = as<T>(slot.object.get())) visit(*object);
  }

 private:
  struct Slot {
    std::unique_ptr<Object> object;
    bool buried = false;
    bool free() const { return object == nullptr && !buried; }
  };
  Result<> insert(std::unique_ptr<Object> object);

  std::vector<Slot> slots_;       // by id; slot 0 stays empty
  std::uint32_t first_free_ = 1;  // no slot below it is free
  std::uint32_t count_ = 0;
};

}  // namespace softiommu::iommufd
