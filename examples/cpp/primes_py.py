# SPDX-License-Identifier: Apache-2.0
"""The Python half of 03_calls.cpp."""


def count_primes(start, stop):
    return sum(n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(start, stop))
