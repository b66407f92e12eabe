/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Included before each of OP-TEE's sources: its heap is freed by a restart.
 */
#ifndef CORE_H
#define CORE_H

#include <stddef.h>
#include <stdlib.h>

void *core_malloc(size_t size);
void *core_calloc(size_t count, size_t size);
void *core_realloc(void *ptr, size_t size);
void core_free(void *ptr);

#define malloc core_malloc
#define calloc core_calloc
#define realloc core_realloc
#define free core_free

#endif
