// SPDX-License-Identifier: BSD-2-Clause
/*
 * The memory of the platform that the normal world cannot change. One of
 * PLATFORM_BARE, PLATFORM_COUNTER, PLATFORM_HASH and PLATFORM_RPMB is defined:
 * what is not, is what the core has for platforms without.
 */
#include "world.h"

#include <assert.h>
#include <string.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines.h>

struct secure_memory secure_memory;

TEE_Result nv_counter_get_ree_fs(uint32_t *value);
TEE_Result nv_counter_incr_ree_fs_to(uint32_t value);
TEE_Result nv_counter_get_ree_fs_hash(uint8_t *hash);
TEE_Result nv_counter_set_ree_fs(uint32_t value, const uint8_t *hash);

bool platform_keeps_hash(void)
{
#if defined(PLATFORM_HASH) || defined(PLATFORM_RPMB)
	return true;
#else
	return false;
#endif
}

bool platform_keeps_counter(void)
{
#ifdef PLATFORM_BARE
	return false;
#else
	return true;
#endif
}

void platform_restart(void)
{
}

#ifndef PLATFORM_BARE
static TEE_Result set(struct secure_memory memory)
{
	enum fault fault = fault_begin(true, false);

	if (fault != FAILS)
		secure_memory = memory;
	fault_end(fault);
	/* Only the normal world lies */
	if (fault == FAILS || fault == DONE_BUT_FAILS)
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;

	return TEE_SUCCESS;
}
#endif

#if defined(PLATFORM_COUNTER) || defined(PLATFORM_HASH)
TEE_Result nv_counter_get_ree_fs(uint32_t *value)
{
	*value = secure_memory.counter;

	return TEE_SUCCESS;
}

/* The core of before the hash, too, raises the counter of PLATFORM_HASH */
TEE_Result nv_counter_incr_ree_fs_to(uint32_t value)
{
	if (value <= secure_memory.counter)
		return TEE_SUCCESS;

	return set((struct secure_memory){ .counter = value });
}
#endif

#ifdef PLATFORM_HASH
TEE_Result nv_counter_get_ree_fs_hash(uint8_t *hash)
{
	if (!secure_memory.has_hash)
		return TEE_ERROR_ITEM_NOT_FOUND;
	memcpy(hash, secure_memory.hash, sizeof(secure_memory.hash));

	return TEE_SUCCESS;
}

TEE_Result nv_counter_set_ree_fs(uint32_t value, const uint8_t *hash)
{
	struct secure_memory memory = { .counter = value, .has_hash = true };

	if (value < secure_memory.counter ||
	    (value == secure_memory.counter && secure_memory.has_hash))
		return TEE_ERROR_SECURITY;
	memcpy(memory.hash, hash, sizeof(memory.hash));

	return set(memory);
}
#endif

#ifdef PLATFORM_RPMB
static int rpmb_file;

/*
 * What an RPMB answers is authentic, but the normal world carries it: it can
 * report any error instead. That nothing is there is not for it to say, see
 * rpmb_read_missing.patch.
 */
static TEE_Result ask_rpmb(void)
{
	enum fault fault = fault_begin(false, true);

	fault_end(fault);
	switch (fault) {
	case MISSES:
		return TEE_ERROR_COMMUNICATION;
	case FAILS:
		return TEE_ERROR_GENERIC;
	case LIES:
		return TEE_ERROR_SECURITY;
	default:
		return TEE_SUCCESS;
	}
}

TEE_Result tee_rpmb_fs_raw_open(const char *fname, bool create,
				struct tee_file_handle **fh)
{
	TEE_Result res = ask_rpmb();

	(void)fname;
	(void)create;
	if (res)
		return res;
	*fh = (struct tee_file_handle *)&rpmb_file;

	return TEE_SUCCESS;
}

static void rpmb_close(struct tee_file_handle **fh)
{
	*fh = NULL;
}

static TEE_Result rpmb_read(struct tee_file_handle *fh, size_t pos,
			    void *buf_core, void *buf_user, size_t *len)
{
	TEE_Result res = ask_rpmb();

	assert(fh && !pos && !buf_user && *len == sizeof(secure_memory.hash));
	if (res)
		return res;
	if (!secure_memory.has_hash)
		*len = 0;
	memcpy(buf_core, secure_memory.hash, *len);

	return TEE_SUCCESS;
}

static TEE_Result rpmb_write(struct tee_file_handle *fh, size_t pos,
			     const void *buf_core, const void *buf_user,
			     size_t len)
{
	struct secure_memory memory = secure_memory;

	assert(fh && !pos && !buf_user && len == sizeof(memory.hash));
	memory.has_hash = true;
	memcpy(memory.hash, buf_core, len);

	return set(memory);
}

static TEE_Result rpmb_truncate(struct tee_file_handle *fh, size_t size)
{
	assert(fh && !size);

	return set((struct secure_memory){
		.rpmb_objects = secure_memory.rpmb_objects });
}

/* Objects of TAs: one each, with a name of one octet */
struct tee_fs_dir {
	TEE_UUID uuid;
	struct tee_fs_dirent entry;
};

static TEE_Result rpmb_opendir(const TEE_UUID *uuid, struct tee_fs_dir **dir)
{
	static struct tee_fs_dir only;
	TEE_Result res = ask_rpmb();

	if (res)
		return res;
	if (!(secure_memory.rpmb_objects & RPMB_OBJECT(uuid)))
		return TEE_ERROR_ITEM_NOT_FOUND;
	only = (struct tee_fs_dir){ .uuid = *uuid, .entry.oidlen = 1 };
	*dir = &only;

	return TEE_SUCCESS;
}

static TEE_Result rpmb_readdir(struct tee_fs_dir *dir,
			       struct tee_fs_dirent **entry)
{
	if (!(secure_memory.rpmb_objects & RPMB_OBJECT(&dir->uuid)))
		return TEE_ERROR_ITEM_NOT_FOUND;
	*entry = &dir->entry;

	return TEE_SUCCESS;
}

static void rpmb_closedir(struct tee_fs_dir *dir)
{
	(void)dir;
}

static TEE_Result rpmb_remove(struct tee_pobj *object)
{
	struct secure_memory memory = secure_memory;

	assert(object->obj_id_len == 1);
	memory.rpmb_objects &= ~RPMB_OBJECT(&object->uuid);

	return set(memory);
}

const struct tee_file_operations rpmb_fs_ops = {
	.close = rpmb_close,
	.read = rpmb_read,
	.write = rpmb_write,
	.truncate = rpmb_truncate,
	.opendir = rpmb_opendir,
	.readdir = rpmb_readdir,
	.closedir = rpmb_closedir,
	.remove = rpmb_remove,
};
#endif
