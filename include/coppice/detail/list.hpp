// SPDX-License-Identifier: Apache-2.0
// A doubly linked list through its elements: joining and leaving allocate nothing and cannot fail.
#pragma once

#include <cstddef>

#include "coppice/detail/check.hpp"

namespace coppice::detail {

template <class T, class Tag>
class list;

/// Base of an element; `Tag` tells apart the lists that one object can be in.
template <class Tag>
class list_link {
 public:
  list_link() = default;
  list_link(const list_link&) = delete;
  list_link& operator=(const list_link&) = delete;
  ~list_link() { unlink(); }

  bool linked() const noexcept { return next_ != nullptr; }
  void unlink() noexcept {
    if (next_ == nullptr) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = nullptr;
  }

 private:
  template <class T, class U>
  friend class list;
  list_link* prev_ = nullptr;
  list_link* next_ = nullptr;
};

/// First in, first out. Elements leave by unlink(), also when they end. Owner: whoever declares it.
template <class T, class Tag>
class list {
  using link = list_link<Tag>;

 public:
  list() noexcept { head_.prev_ = head_.next_ = &head_; }
  ~list() {
    check(empty(), "a list ended before its elements left it");
    head_.prev_ = head_.next_ = nullptr;
  }
  list(const list&) = delete;
  list& operator=(const list&) = delete;

  bool empty() const noexcept { return head_.next_ == &head_; }
  std::size_t count() const noexcept {  // Walks.
    std::size_t n = 0;
    for (const link* l = head_.next_; l != &head_; l = l->next_) ++n;
    return n;
  }
  T& front() noexcept { return element(head_.next_); }

  void push_back(T& item) noexcept {
    link& l = item;
    l.prev_ = head_.prev_;
    l.next_ = &head_;
    head_.prev_->next_ = &l;
    head_.prev_ = &l;
  }

  T* pop_front() noexcept {
    if (empty()) return nullptr;
    T& item = front();
    static_cast<link&>(item).unlink();
    return &item;
  }

  // For walks during which the present element may leave: take the next one first.
  T* first() const noexcept { return at(head_.next_); }
  T* after(const T& item) const noexcept { return at(static_cast<const link&>(item).next_); }

 private:
  static T& element(link* l) noexcept { return static_cast<T&>(*l); }
  T* at(link* l) const noexcept { return l == &head_ ? nullptr : &element(l); }

  link head_;
};

}  // namespace coppice::detail
