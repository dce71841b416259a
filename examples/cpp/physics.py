# SPDX-License-Identifier: Apache-2.0
"""The Python half of 06_embed.cpp."""


def energy(mass, speed):
    return mass * speed**2 / 2
