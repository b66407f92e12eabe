/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Included before each source: what OP-TEE's own C library has on top of the
 * host's.
 */
#ifndef PRELUDE_H
#define PRELUDE_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <compiler.h>
#include <trace.h>
#include <util.h>

#ifndef U
#define U(x) x##U
#endif

#endif
