/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMPOOL_H
#define MEMPOOL_H

#include <stddef.h>

#define mempool_default NULL

void *mempool_alloc(void *pool, size_t size);
void mempool_free(void *pool, void *ptr);

#endif
