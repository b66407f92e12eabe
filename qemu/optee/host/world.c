// SPDX-License-Identifier: BSD-2-Clause
/*
 * The normal world: its files, tee-supplicant, the faults of its calls, and the
 * memory that it shares.
 */
#include "world.h"

#include <assert.h>
#include <kernel/thread.h>
#include <optee_rpc_cmd.h>
#include <stdlib.h>
#include <string.h>

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

/* What the core has open continues as the file that now has the name, if any */
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

void core_restart(void)
{
	size_t n = 0;

	shared_size = 0;
	heap_restart();
	for (n = 0; n < OPEN_COUNT; n++)
		if (opened[n].used)
			close_file(n);
	fs_htree_restart();
	ree_fs_restart();
	store_restart();
	platform_restart();
}
