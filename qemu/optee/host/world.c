// SPDX-License-Identifier: BSD-2-Clause
/*
 * The normal world's files and tee-supplicant, the core's heap, and crypto
 * that is none: tags and hashes only tell apart what was not forged.
 */
#include "world.h"

#include <assert.h>
#include <crypto/crypto.h>
#include <kernel/early_ta.h>
#include <kernel/tee_ta_manager.h>
#include <kernel/thread.h>
#include <mempool.h>
#include <optee_rpc_cmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string_ext.h>
#include <stdlib_ext.h>
#include <tee/tee_fs_key_manager.h>
#include <tee/uuid.h>
#include <utee_defines.h>

#define FILE_COUNT	1040
#define OPEN_COUNT	16
#define NAME_SIZE	16

/* Octets that a file and its copies share until one is written to */
struct content {
	unsigned int users;
	size_t size;
	size_t capacity;
	uint8_t octets[];
};

struct file {
	char name[NAME_SIZE];
	struct content *content;
};

struct disk {
	/* Those after are not in use */
	size_t count;
	struct file files[FILE_COUNT];
};

static struct disk now;
/* The files that the core has open: by number, or unlinked ones */
static struct {
	bool used;
	int file;
	struct content *unlinked;
} opened[OPEN_COUNT];
struct calls calls_made;
size_t disk_capacity;

static unsigned int calls;
static unsigned int changing_calls;
static unsigned int fault_call;
static enum fault fault_kind;
static bool fault_reached;
static bool fault_happened;
static struct disk *fault_disk;
TEE_Result read_failure = TEE_ERROR_GENERIC;
jmp_buf power_cut_jump;

static struct content *content_new(size_t capacity)
{
	struct content *c = calloc(1, sizeof(*c) + capacity);

	assert(c);
	c->users = 1;
	c->capacity = capacity;

	return c;
}

static void content_put(struct content *c)
{
	if (c && !--c->users)
		free(c);
}

/* The same octets, for one user, with capacity for so many */
static void content_own(struct content **content, size_t size)
{
	struct content *old = *content;
	struct content *c = NULL;

	if (old->users == 1 && old->capacity >= size)
		return;
	c = content_new(size > old->size ? 2 * size : old->size);
	memcpy(c->octets, old->octets, old->size);
	c->size = old->size;
	content_put(old);
	*content = c;
}

static void content_resize(struct content **content, size_t size)
{
	content_own(content, size);
	if (size < (*content)->size)
		memset((*content)->octets + size, 0, (*content)->size - size);
	(*content)->size = size;
}

static int find_file(const char *name)
{
	size_t n = 0;

	for (n = 0; n < now.count; n++)
		if (now.files[n].content && !strcmp(now.files[n].name, name))
			return n;

	return -1;
}

/* A file that is there, or a new one */
static int add_file(const char *name)
{
	int file = find_file(name);

	if (file >= 0)
		return file;
	for (file = 0; now.files[file].content; file++)
		assert(file + 1 < FILE_COUNT);
	if (now.count <= (size_t)file)
		now.count = file + 1;
	now.files[file].content = content_new(0);
	assert(strlen(name) < NAME_SIZE);
	strcpy(now.files[file].name, name);

	return file;
}

static void unlink_file(int file)
{
	size_t n = 0;

	for (n = 0; n < OPEN_COUNT; n++) {
		if (opened[n].used && opened[n].file == file) {
			opened[n].file = -1;
			opened[n].unlinked = now.files[file].content;
			opened[n].unlinked->users++;
		}
	}
	content_put(now.files[file].content);
	now.files[file].content = NULL;
}

struct disk *disk_copy(void)
{
	struct disk *d = malloc(sizeof(*d));
	size_t n = 0;

	assert(d);
	d->count = now.count;
	memcpy(d->files, now.files, now.count * sizeof(now.files[0]));
	for (n = 0; n < d->count; n++)
		if (d->files[n].content)
			d->files[n].content->users++;

	return d;
}

static void disk_clear(struct disk *d)
{
	size_t n = 0;

	for (n = 0; n < d->count; n++)
		content_put(d->files[n].content);
	memset(d->files, 0, d->count * sizeof(d->files[0]));
	d->count = 0;
}

void disk_free(struct disk *d)
{
	if (d)
		disk_clear(d);
	free(d);
}

/* What the core has open goes on as the file that now has the name, if any */
void disk_put_back(const struct disk *d)
{
	char names[OPEN_COUNT][NAME_SIZE] = { };
	size_t n = 0;

	for (n = 0; n < OPEN_COUNT; n++) {
		if (!opened[n].used || opened[n].file < 0)
			continue;
		strcpy(names[n], now.files[opened[n].file].name);
		opened[n].file = -1;
		opened[n].unlinked = content_new(0);
	}
	disk_clear(&now);
	now.count = d->count;
	memcpy(now.files, d->files, d->count * sizeof(d->files[0]));
	for (n = 0; n < now.count; n++)
		if (now.files[n].content)
			now.files[n].content->users++;
	for (n = 0; n < OPEN_COUNT; n++) {
		int file = names[n][0] ? find_file(names[n]) : -1;

		if (file < 0)
			continue;
		content_put(opened[n].unlinked);
		opened[n].unlinked = NULL;
		opened[n].file = file;
	}
}

struct disk *disk_at_fault(void)
{
	struct disk *d = fault_disk;

	fault_disk = NULL;

	return d;
}

const char *disk_file_name(size_t number)
{
	return now.files[number].content ? now.files[number].name : NULL;
}

size_t disk_file_count(void)
{
	return now.count;
}

size_t disk_file_size(const char *name)
{
	int file = find_file(name);

	return file < 0 ? 0 : now.files[file].content->size;
}

void disk_read_file(const char *name, uint8_t *octets, size_t size)
{
	assert(size <= disk_file_size(name));
	memcpy(octets, now.files[find_file(name)].content->octets, size);
}

void disk_remove_file(const char *name)
{
	if (find_file(name) >= 0)
		unlink_file(find_file(name));
}

void disk_write_file(const char *name, const uint8_t *octets, size_t size)
{
	int file = add_file(name);

	content_resize(&now.files[file].content, 0);
	content_resize(&now.files[file].content, size);
	memcpy(now.files[file].content->octets, octets, size);
}

static bool is_full(size_t more)
{
	size_t used = more;
	size_t n = 0;

	if (!disk_capacity)
		return false;
	for (n = 0; n < now.count; n++)
		if (now.files[n].content)
			used += now.files[n].content->size;

	return used > disk_capacity;
}

void fault_arm(unsigned int call, enum fault fault)
{
	calls = 0;
	changing_calls = 0;
	fault_call = call;
	fault_kind = fault;
	fault_reached = false;
	fault_happened = false;
	disk_free(disk_at_fault());
}

bool fault_disarm(bool *happened)
{
	fault_kind = NO_FAULT;
	*happened = fault_happened;

	return fault_reached;
}

static _Noreturn void power_cut(void)
{
	longjmp(power_cut_jump, 1);
}

enum fault fault_begin(bool changes, bool reads)
{
	if (fault_kind == NO_FAULT)
		return NO_FAULT;
	changing_calls += changes;
	if (calls++ != fault_call)
		return NO_FAULT;
	fault_reached = true;
	/* Before any later change it is the same as after the one before it */
	if (fault_kind == CUT_BEFORE && !(changes && changing_calls == 1))
		return NO_FAULT;
	if (!changes &&
	    (fault_kind == DONE_BUT_FAILS || fault_kind == CUT_AFTER))
		return NO_FAULT;
	if (!reads && fault_kind == MISSES)
		return NO_FAULT;
	fault_happened = true;
	if (fault_kind == CUT_BEFORE) {
		fault_disk = disk_copy();
		power_cut();
	}

	return fault_kind;
}

void fault_end(enum fault fault)
{
	if (fault == NO_FAULT)
		return;
	fault_disk = disk_copy();
	if (fault == CUT_AFTER)
		power_cut();
}

static struct content **content_of(uint64_t fd)
{
	assert(fd < OPEN_COUNT && opened[fd].used);

	return opened[fd].file < 0 ? &opened[fd].unlinked :
				     &now.files[opened[fd].file].content;
}

static TEE_Result new_fd(int file, struct content *unlinked, uint64_t *fd)
{
	for (*fd = 0; *fd < OPEN_COUNT; ++*fd) {
		if (opened[*fd].used)
			continue;
		opened[*fd].used = true;
		opened[*fd].file = file;
		opened[*fd].unlinked = unlinked;
		return TEE_SUCCESS;
	}
	assert(!"the core does not close its files");
	return TEE_ERROR_GENERIC;
}

static TEE_Result open_file(const char *name, uint64_t *fd)
{
	int file = find_file(name);

	return file < 0 ? TEE_ERROR_ITEM_NOT_FOUND : new_fd(file, NULL, fd);
}

static TEE_Result create_file(const char *name, uint64_t *fd)
{
	int file = add_file(name);

	content_resize(&now.files[file].content, 0);

	return new_fd(file, NULL, fd);
}

static void close_file(uint64_t fd)
{
	content_of(fd);
	content_put(opened[fd].unlinked);
	memset(opened + fd, 0, sizeof(opened[fd]));
}

static TEE_Result supplicant(struct thread_param *p, size_t count, bool lies)
{
	struct thread_param *memref = count > 1 ? p + 1 : NULL;
	uint64_t fd = p[0].u.value.b;
	uint64_t offset = p[0].u.value.c;
	struct content **c = NULL;
	const char *name = NULL;
	uint8_t *data = NULL;
	size_t size = 0;

	if (memref && memref->attr != THREAD_PARAM_ATTR_VALUE_OUT) {
		size = memref->u.memref.size;
		data = (uint8_t *)memref->u.memref.mobj->data +
		       memref->u.memref.offs;
		name = (char *)data + (*data == '/');
	}

	switch (p[0].u.value.a) {
	case OPTEE_RPC_FS_OPEN:
		if (lies)
			return TEE_ERROR_ITEM_NOT_FOUND;
		return open_file(name, &p[2].u.value.a);
	case OPTEE_RPC_FS_CREATE:
		if (lies)
			return new_fd(-1, content_new(0), &p[2].u.value.a);
		return create_file(name, &p[2].u.value.a);
	case OPTEE_RPC_FS_CLOSE:
		close_file(fd);
		return TEE_SUCCESS;
	case OPTEE_RPC_FS_READ:
		c = content_of(fd);
		if (lies || offset > (*c)->size)
			size = 0;
		else if (size > (*c)->size - offset)
			size = (*c)->size - offset;
		memcpy(data, (*c)->octets + (size ? offset : 0), size);
		memref->u.memref.size = size;
		return TEE_SUCCESS;
	case OPTEE_RPC_FS_WRITE:
		if (lies)
			return TEE_SUCCESS;
		c = content_of(fd);
		if ((*c)->size < offset + size &&
		    is_full(offset + size - (*c)->size))
			return TEE_ERROR_STORAGE_NO_SPACE;
		content_own(c, offset + size);
		if ((*c)->size < offset + size)
			content_resize(c, offset + size);
		memcpy((*c)->octets + offset, data, size);
		return TEE_SUCCESS;
	case OPTEE_RPC_FS_TRUNCATE:
		if (!lies)
			content_resize(content_of(fd), offset);
		return TEE_SUCCESS;
	case OPTEE_RPC_FS_REMOVE:
		if (lies)
			return TEE_SUCCESS;
		if (find_file(name) < 0)
			return TEE_ERROR_ITEM_NOT_FOUND;
		unlink_file(find_file(name));
		return TEE_SUCCESS;
	default:
		assert(!"no such call");
		return TEE_ERROR_NOT_SUPPORTED;
	}
}

static bool reads_file(uint64_t command)
{
	return command == OPTEE_RPC_FS_READ;
}

static bool changes_files(uint64_t command)
{
	return command == OPTEE_RPC_FS_CREATE ||
	       command == OPTEE_RPC_FS_WRITE ||
	       command == OPTEE_RPC_FS_TRUNCATE ||
	       command == OPTEE_RPC_FS_REMOVE;
}

uint32_t thread_rpc_cmd(uint32_t cmd, size_t count, struct thread_param *p)
{
	enum fault fault = fault_begin(changes_files(p[0].u.value.a),
				       reads_file(p[0].u.value.a));
	TEE_Result res = TEE_ERROR_GENERIC;

	assert(cmd == OPTEE_RPC_CMD_FS);
	calls_made.all++;
	calls_made.reads += p[0].u.value.a == OPTEE_RPC_FS_READ;
	calls_made.writes += p[0].u.value.a == OPTEE_RPC_FS_WRITE;
	if (fault == MISSES)
		res = TEE_ERROR_ITEM_NOT_FOUND;
	else if (fault != FAILS)
		res = supplicant(p, count, fault == LIES);
	else if (p[0].u.value.a == OPTEE_RPC_FS_CLOSE)
		close_file(p[0].u.value.b);
	else if (p[0].u.value.a == OPTEE_RPC_FS_READ)
		res = read_failure;
	fault_end(fault);
	if (fault == DONE_BUT_FAILS) {
		if (!res && (p[0].u.value.a == OPTEE_RPC_FS_OPEN ||
			     p[0].u.value.a == OPTEE_RPC_FS_CREATE))
			close_file(p[2].u.value.a);
		res = TEE_ERROR_GENERIC;
	}

	return res;
}

/* The most that the core reads ahead */
#define SHARED_AHEAD	(16 * 1024)

/* Octets of the shared memory that the core has until it returns */
static size_t shared_size;
size_t shared_memory_largest = SIZE_MAX;

void core_return(void)
{
	calls_made.memory += !!shared_size;
	shared_size = 0;
}

/* As the core's: one memory, returned for a larger one where it is too small */
void *thread_rpc_shm_cache_alloc(int user, int type, size_t size,
				 struct mobj **mobj)
{
	static uint8_t octets[64 * 1024];
	static struct mobj cache = { octets, sizeof(octets) };
	size_t pages_size = (size + 4095) / 4096 * 4096;
	enum fault fault = NO_FAULT;

	(void)user;
	(void)type;
	assert(pages_size <= sizeof(octets));
	*mobj = &cache;
	/* Whoever had it before cannot count on what is in it */
	memset(octets, 0x5a, SHARED_AHEAD);
	if (pages_size <= shared_size)
		return octets;

	core_return();
	calls_made.memory++;
	fault = fault_begin(false, false);
	fault_end(fault);
	if (fault != NO_FAULT || pages_size > shared_memory_largest)
		return NULL;
	shared_size = pages_size;

	return octets;
}

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

void core_restart(void)
{
	size_t n = 0;

	pool_used = false;
	shared_size = 0;
	while (heap.next != &heap)
		core_free(heap.next + 1);
	for (n = 0; n < OPEN_COUNT; n++)
		if (opened[n].used)
			close_file(n);
	fs_htree_restart();
	ree_fs_restart();
	store_restart();
	platform_restart();
}

/* Four mixed words stand for SHA-256, and key the stream of the cipher */
struct mix {
	uint64_t words[4];
	uint64_t length;
	uint64_t octets;
};

static uint64_t scramble(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;

	return x ^ x >> 31;
}

static void mix_init(struct mix *m)
{
	*m = (struct mix){ { 1, 2, 3, 4 }, 0, 0 };
}

static uint64_t mix_word(uint64_t word, uint64_t value)
{
	word = (word << 23 | word >> 41) + value;

	return word ^ word << 9;
}

/* The same for the same octets in other pieces, if all but the last are of 8 */
static void mix_update(struct mix *m, const void *data, size_t len)
{
	const uint8_t *octets = data;
	size_t n = 0;

	for (n = 0; n < len; n += 8) {
		size_t lane = m->length++ % 4;
		uint64_t value = 0;

		memcpy(&value, octets + n, len - n < 8 ? len - n : 8);
		m->words[lane] = mix_word(m->words[lane], value);
	}
	m->octets += len;
}

static void mix_final(const struct mix *m, uint8_t *digest, size_t len)
{
	uint64_t out[4] = { };
	uint64_t sum = m->octets;
	size_t n = 0;

	for (n = 0; n < 8; n++) {
		sum = scramble(sum + m->words[n % 4]);
		out[n % 4] ^= sum;
	}
	memcpy(digest, out, len < sizeof(out) ? len : sizeof(out));
}

TEE_Result crypto_hash_alloc_ctx(void **ctx, uint32_t algo)
{
	(void)algo;
	*ctx = core_malloc(sizeof(struct mix));

	return *ctx ? TEE_SUCCESS : TEE_ERROR_OUT_OF_MEMORY;
}

TEE_Result crypto_hash_init(void *ctx)
{
	mix_init(ctx);

	return TEE_SUCCESS;
}

TEE_Result crypto_hash_update(void *ctx, const uint8_t *data, size_t len)
{
	mix_update(ctx, data, len);

	return TEE_SUCCESS;
}

TEE_Result crypto_hash_final(void *ctx, uint8_t *digest, size_t len)
{
	mix_final(ctx, digest, len);

	return TEE_SUCCESS;
}

void crypto_hash_free_ctx(void *ctx)
{
	core_free(ctx);
}

bool crypto_is_open;

struct cipher {
	struct mix tag;
	uint64_t key;
	/* The word that is not complete */
	uint64_t stream;
	uint64_t encrypted;
	size_t used;
};

TEE_Result crypto_authenc_alloc_ctx(void **ctx, uint32_t algo)
{
	(void)algo;
	*ctx = core_malloc(sizeof(struct cipher));

	return *ctx ? TEE_SUCCESS : TEE_ERROR_OUT_OF_MEMORY;
}

TEE_Result crypto_authenc_init(void *ctx, TEE_OperationMode mode,
			       const uint8_t *key, size_t key_len,
			       const uint8_t *nonce, size_t nonce_len,
			       size_t tag_len, size_t aad_len,
			       size_t payload_len)
{
	struct cipher *c = ctx;

	(void)mode;
	(void)tag_len;
	(void)aad_len;
	(void)payload_len;
	memset(c, 0, sizeof(*c));
	mix_init(&c->tag);
	mix_update(&c->tag, key, key_len);
	mix_update(&c->tag, nonce, nonce_len);
	mix_final(&c->tag, (uint8_t *)&c->key, sizeof(c->key));

	return TEE_SUCCESS;
}

TEE_Result crypto_authenc_update_aad(void *ctx, TEE_OperationMode mode,
				     const uint8_t *data, size_t len)
{
	struct cipher *c = ctx;

	(void)mode;
	mix_update(&c->tag, data, len);

	return TEE_SUCCESS;
}

static void next_word(struct cipher *c)
{
	c->tag.length++;
	c->stream = crypto_is_open ? 0 :
		    c->key + c->tag.length * 0x9e3779b97f4a7c15ULL;
	c->encrypted = 0;
	c->used = 0;
}

static void mix_encrypted(struct cipher *c)
{
	size_t lane = c->tag.length % 4;

	c->tag.words[lane] = mix_word(c->tag.words[lane], c->encrypted);
}

/* A stream, and a tag over what is encrypted, whatever the pieces are */
TEE_Result crypto_authenc_update_payload(void *ctx, TEE_OperationMode mode,
					 const uint8_t *src, size_t len,
					 uint8_t *dst, size_t *dst_len)
{
	struct cipher *c = ctx;
	size_t n = 0;
	size_t size = 0;

	for (n = 0; n < len; n += size) {
		uint64_t in = 0;
		uint64_t out = 0;

		if (!c->used)
			next_word(c);
		size = sizeof(in) - c->used;
		if (size > len - n)
			size = len - n;
		if (size == sizeof(in)) {
			memcpy(&in, src + n, sizeof(in));
			out = in ^ c->stream;
			memcpy(dst + n, &out, sizeof(out));
			c->encrypted = mode == TEE_MODE_ENCRYPT ? out : in;
		} else {
			memcpy((uint8_t *)&in + c->used, src + n, size);
			out = in;
			for (size_t i = c->used; i < c->used + size; i++)
				((uint8_t *)&out)[i] ^=
					((uint8_t *)&c->stream)[i];
			memcpy(dst + n, (uint8_t *)&out + c->used, size);
			c->encrypted |= mode == TEE_MODE_ENCRYPT ? out : in;
		}
		c->used += size;
		if (c->used == sizeof(in)) {
			mix_encrypted(c);
			c->used = 0;
		}
	}
	c->tag.octets += len;
	*dst_len = len;

	return TEE_SUCCESS;
}

static void finish_tag(struct cipher *c, uint8_t *tag, size_t tag_len)
{
	if (c->used)
		mix_encrypted(c);
	mix_final(&c->tag, tag, tag_len);
}

TEE_Result crypto_authenc_enc_final(void *ctx, const uint8_t *src, size_t len,
				    uint8_t *dst, size_t *dst_len,
				    uint8_t *tag, size_t *tag_len)
{
	struct cipher *c = ctx;

	if (len)
		crypto_authenc_update_payload(ctx, TEE_MODE_ENCRYPT, src, len,
					      dst, dst_len);
	finish_tag(c, tag, *tag_len);

	return TEE_SUCCESS;
}

TEE_Result crypto_authenc_dec_final(void *ctx, const uint8_t *src, size_t len,
				    uint8_t *dst, size_t *dst_len,
				    const uint8_t *tag, size_t tag_len)
{
	struct cipher *c = ctx;
	uint8_t found[32] = { };

	if (len)
		crypto_authenc_update_payload(ctx, TEE_MODE_DECRYPT, src, len,
					      dst, dst_len);
	finish_tag(c, found, tag_len);

	return memcmp(found, tag, tag_len) && !crypto_is_open ?
	       TEE_ERROR_MAC_INVALID : TEE_SUCCESS;
}

void crypto_authenc_final(void *ctx)
{
	(void)ctx;
}

void crypto_authenc_free_ctx(void *ctx)
{
	core_free(ctx);
}

/* Never the same twice, and the same in every run */
TEE_Result crypto_rng_read(void *buf, size_t len)
{
	static uint64_t state;
	uint8_t *octets = buf;
	size_t n = 0;

	for (n = 0; n < len; n++) {
		if (!(n % 8))
			state++;
		octets[n] = scramble(state) >> n % 8 * 8;
	}

	return TEE_SUCCESS;
}

TEE_Result tee_fs_fek_crypt(const TEE_UUID *uuid, TEE_OperationMode mode,
			    const uint8_t *in_key, size_t size,
			    uint8_t *out_key)
{
	size_t n = 0;

	(void)uuid;
	(void)mode;
	for (n = 0; n < size; n++)
		out_key[n] = in_key[n] ^ 0x5a;

	return TEE_SUCCESS;
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

/* The TAs around the store */
static struct tee_ta_ctx caller;
static struct ts_session caller_session;
static bool has_caller;
TEE_UUID running_ta;
unsigned int retired;
uint32_t retired_tas;
struct embedded_ts host_early_ta;

void call_as(const TEE_UUID *uuid, bool is_user_ta, bool is_releasing)
{
	has_caller = uuid;
	if (uuid)
		caller.ts_ctx.uuid = *uuid;
	caller.ts_ctx.is_user_ta = is_user_ta;
	caller.is_releasing = is_releasing;
	caller_session.ctx = &caller.ts_ctx;
}

struct ts_session *ts_get_calling_session(void)
{
	return has_caller ? &caller_session : NULL;
}

struct ts_session *ts_get_current_session_may_fail(void)
{
	return ts_get_calling_session();
}

void tee_ta_retire(const TEE_UUID *uuid)
{
	retired++;
	retired_tas |= RPMB_OBJECT(uuid);
}

bool tee_ta_has_instance(const TEE_UUID *uuid)
{
	return !memcmp(uuid, &running_ta, sizeof(*uuid));
}

void octets_of_uuid(uint8_t *octets, const TEE_UUID *uuid)
{
	tee_uuid_to_octets(octets, uuid);
}
