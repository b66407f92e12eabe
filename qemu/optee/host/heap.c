// SPDX-License-Identifier: BSD-2-Clause
/*
 * The core's heap, which a restart frees and a test can fill up, and functions
 * of its C library.
 */
#include "world.h"

#include <assert.h>
#include <mempool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib_ext.h>
#include <string.h>
#include <string_ext.h>

/* The core's heap: a list, so that a restart frees it */
struct chunk {
	struct chunk *next;
	struct chunk *previous;
	size_t size;
	size_t padding;
};

#define HEAP_SIZE	(4U << 20)

static struct chunk heap = { &heap, &heap, 0, 0 };
size_t core_heap_largest = SIZE_MAX;
unsigned int core_heap_leaks;
static size_t heap_used;
size_t core_heap_peak;
unsigned int core_heap_failure;

static bool heap_fails(size_t size)
{
	return (core_heap_failure && !--core_heap_failure) ||
	       size > HEAP_SIZE - heap_used;
}

static void *add_chunk(struct chunk *c, size_t size)
{
	assert(c);
	heap_used += size;
	if (core_heap_peak < heap_used)
		core_heap_peak = heap_used;
	c->size = size;
	c->next = &heap;
	c->previous = heap.previous;
	c->previous->next = c;
	heap.previous = c;

	return c + 1;
}

void *core_malloc(size_t size)
{
	if (heap_fails(size) || size > core_heap_largest)
		return NULL;

	return add_chunk(malloc(sizeof(struct chunk) + size), size);
}

void *core_calloc(size_t count, size_t size)
{
	if (heap_fails(count * size) || count * size > core_heap_largest)
		return NULL;

	return add_chunk(calloc(1, sizeof(struct chunk) + count * size),
			 count * size);
}

static bool has_plaintext(const uint8_t *octets, size_t size)
{
	size_t run = 0;
	size_t n = 0;

	for (n = 0; n < size && run < 32; n++)
		run = octets[n] == PLAINTEXT ? run + 1 : 0;

	return run == 32;
}

void core_free(void *ptr)
{
	struct chunk *c = NULL;

	if (!ptr)
		return;
	c = (struct chunk *)ptr - 1;
	core_heap_leaks += has_plaintext(ptr, c->size);
	heap_used -= c->size;
	c->previous->next = c->next;
	c->next->previous = c->previous;
	free(c);
}

void free_wipe(void *ptr)
{
	if (ptr)
		memset(ptr, 0x55, ((struct chunk *)ptr - 1)->size);
	core_free(ptr);
}

void *core_realloc(void *old, size_t size)
{
	void *ptr = core_malloc(size);

	if (!ptr)
		return NULL;
	if (old) {
		size_t old_size = ((struct chunk *)old - 1)->size;

		memcpy(ptr, old, old_size < size ? old_size : size);
	}
	core_free(old);

	return ptr;
}

size_t core_heap_used(void)
{
	return heap_used;
}

/* The core takes a block at a time from its pool */
static uint8_t pool_block[4096];
static bool pool_used;

void *mempool_alloc(void *pool, size_t size)
{
	(void)pool;
	assert(!pool_used && size == sizeof(pool_block));
	pool_used = true;

	return pool_block;
}

void mempool_free(void *pool, void *ptr)
{
	(void)pool;
	assert(pool_used && ptr == pool_block);
	pool_used = false;
}

void heap_restart(void)
{
	pool_used = false;
	while (heap.next != &heap)
		core_free(heap.next + 1);
}

void memzero_explicit(void *s, size_t count)
{
	memset(s, 0, count);
}

int consttime_memcmp(const void *p1, const void *p2, size_t nb)
{
	return memcmp(p1, p2, nb);
}

size_t strlcpy(char *dst, const char *src, size_t size)
{
	snprintf(dst, size, "%s", src);

	return strlen(src);
}
