// SPDX-License-Identifier: BSD-2-Clause
/*
 * Encrypted files of the normal world.
 */

#include <assert.h>
#include <crypto/crypto.h>
#include <kernel/thread.h>
#include <kernel/user_access.h>
#include <optee_rpc_cmd.h>
#include <stdlib.h>
#include <stdlib_ext.h>
#include <string.h>
#include <string_ext.h>
#include <tee/tee_fs.h>
#include <tee/tee_fs_rpc.h>
#include <tee_api_defines_extensions.h>
#include <trace.h>
#include <utee_defines.h>
#include <util.h>

#include "store.h"

/* As much as the core's own file systems ask of the shared memory */
#define WINDOW_SIZE_MAX		(64U * 1024)
#define BOUNCE_SIZE		(4U * 1024)

#define IV_SIZE			12

TEE_Result cipher_init(struct cipher *cipher, TEE_OperationMode mode,
		       const uint8_t *key, enum message message, size_t size)
{
	uint8_t iv[IV_SIZE] = { [IV_SIZE - 1] = message };
	TEE_Result res = TEE_SUCCESS;

	cipher->mode = mode;
	res = crypto_authenc_alloc_ctx(&cipher->ctx, TEE_ALG_AES_GCM);
	if (res) {
		cipher->ctx = NULL;
		return res;
	}

	res = crypto_authenc_init(cipher->ctx, mode, key, STORE_KEY_SIZE, iv,
				  sizeof(iv), STORE_TAG_SIZE, 0, size);
	if (res) {
		crypto_authenc_free_ctx(cipher->ctx);
		cipher->ctx = NULL;
	}

	return res;
}

static TEE_Result cipher_update(struct cipher *cipher, uint8_t *buf, size_t len)
{
	size_t out_len = len;
	TEE_Result res = TEE_SUCCESS;

	res = crypto_authenc_update_payload(cipher->ctx, cipher->mode, buf, len,
					    buf, &out_len);
	if (!res && out_len != len)
		return TEE_ERROR_GENERIC;

	return res;
}

TEE_Result cipher_seal(struct cipher *cipher, uint8_t *tag)
{
	size_t tag_len = STORE_TAG_SIZE;
	size_t len = 0;

	return crypto_authenc_enc_final(cipher->ctx, NULL, 0, NULL, &len, tag,
					&tag_len);
}

TEE_Result cipher_check(struct cipher *cipher, const uint8_t *tag)
{
	TEE_Result res = TEE_SUCCESS;
	size_t len = 0;

	res = crypto_authenc_dec_final(cipher->ctx, NULL, 0, NULL, &len, tag,
				       STORE_TAG_SIZE);
	if (res == TEE_ERROR_MAC_INVALID)
		return TEE_ERROR_CORRUPT_OBJECT;

	return res;
}

void cipher_free(struct cipher *cipher)
{
	if (!cipher->ctx)
		return;

	crypto_authenc_final(cipher->ctx);
	crypto_authenc_free_ctx(cipher->ctx);
	cipher->ctx = NULL;
}

TEE_Result file_result(TEE_Result res)
{
	switch (res) {
	case TEE_SUCCESS:
	case TEE_ERROR_OUT_OF_MEMORY:
	case TEE_ERROR_STORAGE_NO_SPACE:
		return res;
	default:
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;
	}
}

/*
 * Memory for a name, of the size that any transfer needs. Memory that has to
 * grow is returned to the normal world and requested anew, with a call for
 * each, so the first call of a command requests all of it. Without as much,
 * transfers request what they need.
 */
static void *alloc_name(struct mobj **mobj)
{
	static const size_t sizes[] = { WINDOW_SIZE_MAX, TEE_FS_NAME_MAX };
	void *va = NULL;
	size_t n = 0;

	for (n = 0; !va && n < ARRAY_SIZE(sizes); n++)
		va = thread_rpc_shm_cache_alloc(THREAD_SHM_CACHE_USER_FS,
						THREAD_SHM_TYPE_APPLICATION,
						sizes[n], mobj);

	return va;
}

static TEE_Result call_with_name(unsigned int cmd, const char *name, int *fd)
{
	struct thread_param params[3] = { };
	TEE_Result res = TEE_SUCCESS;
	struct mobj *mobj = NULL;
	void *va = NULL;

	va = alloc_name(&mobj);
	if (!va)
		return TEE_ERROR_OUT_OF_MEMORY;

	strlcpy(va, name, TEE_FS_NAME_MAX);
	params[0] = THREAD_PARAM_VALUE(IN, cmd, 0, 0);
	params[1] = THREAD_PARAM_MEMREF(IN, mobj, 0, TEE_FS_NAME_MAX);
	params[2] = THREAD_PARAM_VALUE(OUT, 0, 0, 0);

	res = thread_rpc_cmd(OPTEE_RPC_CMD_FS, fd ? 3 : 2, params);
	if (!res && fd)
		*fd = params[2].u.value.a;

	return res;
}

TEE_Result file_create(const char *name, int *fd)
{
	return file_result(call_with_name(OPTEE_RPC_FS_CREATE, name, fd));
}

TEE_Result file_open(const char *name, int *fd)
{
	TEE_Result res = call_with_name(OPTEE_RPC_FS_OPEN, name, fd);

	return res == TEE_ERROR_ITEM_NOT_FOUND ? res : file_result(res);
}

TEE_Result file_open_known(const char *name, int *fd)
{
	TEE_Result res = file_open(name, fd);

	if (res == TEE_ERROR_ITEM_NOT_FOUND) {
		EMSG("%s is missing", name);
		return TEE_ERROR_CORRUPT_OBJECT;
	}

	return res;
}

TEE_Result file_remove(const char *name)
{
	TEE_Result res = call_with_name(OPTEE_RPC_FS_REMOVE, name, NULL);

	return res == TEE_ERROR_ITEM_NOT_FOUND ? res : file_result(res);
}

void file_close(int fd)
{
	tee_fs_rpc_close(OPTEE_RPC_CMD_FS, fd);
}

TEE_Result transfer_init(struct transfer *transfer, int fd, size_t pos,
			 size_t size)
{
	*transfer = (struct transfer){
		.fd = fd, .pos = pos, .remaining = size,
		.bounce = malloc(MIN(size, BOUNCE_SIZE)),
	};
	if (!transfer->bounce && size)
		return TEE_ERROR_OUT_OF_MEMORY;

	return TEE_SUCCESS;
}

void transfer_final(struct transfer *transfer)
{
	free_wipe(transfer->bounce);
	transfer->bounce = NULL;
}

/* The size of the next call, of which the window has the octets */
static void begin_window(struct transfer *t, size_t *pos)
{
	t->size = MIN(t->remaining, WINDOW_SIZE_MAX);
	t->used = 0;
	t->remaining -= t->size;
	*pos = t->pos;
	t->pos += t->size;
}

static size_t piece_size(const struct transfer *t, size_t len)
{
	size_t n = MIN(len, BOUNCE_SIZE);

	return MIN(n, t->size - t->used);
}

static TEE_Result begin_write(struct transfer *t)
{
	size_t pos = 0;
	void *window = NULL;
	TEE_Result res = TEE_SUCCESS;

	begin_window(t, &pos);
	res = tee_fs_rpc_write_init(&t->op, OPTEE_RPC_CMD_FS, t->fd, pos,
				    t->size, &window);
	t->window = window;

	return res;
}

TEE_Result transfer_write(struct transfer *t, struct cipher *cipher,
			  const void *core, const void *user, size_t len)
{
	const uint8_t *src = core ? core : user;
	TEE_Result res = TEE_SUCCESS;
	size_t n = 0;

	assert(len <= t->remaining + t->size - t->used);
	for (; len; len -= n, src += n) {
		if (t->used == t->size) {
			res = begin_write(t);
			if (res)
				return res;
		}

		n = piece_size(t, len);
		if (core) {
			memcpy(t->bounce, src, n);
		} else {
			res = copy_from_user(t->bounce, src, n);
			if (res)
				return res;
		}
		res = cipher_update(cipher, t->bounce, n);
		if (res)
			return res;
		memcpy(t->window + t->used, t->bounce, n);
		t->used += n;

		if (t->used == t->size) {
			res = file_result(tee_fs_rpc_write_final(&t->op));
			if (res)
				return res;
		}
	}

	return TEE_SUCCESS;
}

static TEE_Result read_window(struct transfer *t)
{
	size_t pos = 0;
	size_t size = 0;
	void *window = NULL;
	TEE_Result res = TEE_SUCCESS;

	begin_window(t, &pos);
	res = tee_fs_rpc_read_init(&t->op, OPTEE_RPC_CMD_FS, t->fd, pos,
				   t->size, &window);
	if (res)
		return res;
	t->window = window;

	res = file_result(tee_fs_rpc_read_final(&t->op, &size));
	if (!res && size != t->size)
		return TEE_ERROR_CORRUPT_OBJECT;

	return res;
}

TEE_Result transfer_read(struct transfer *t, struct cipher *cipher,
			 void *hash_ctx, void *core, void *user, size_t len)
{
	TEE_Result res = TEE_SUCCESS;
	size_t done = 0;
	size_t n = 0;

	assert(len <= t->remaining + t->size - t->used);
	for (; done < len; done += n) {
		uint8_t *buf = core ? (uint8_t *)core + done : t->bounce;

		if (t->used == t->size) {
			res = read_window(t);
			if (res)
				return res;
		}

		n = piece_size(t, len - done);
		memcpy(buf, t->window + t->used, n);
		t->used += n;
		res = cipher_update(cipher, buf, n);
		if (!res && hash_ctx)
			res = crypto_hash_update(hash_ctx, buf, n);
		if (!res && user)
			res = copy_to_user((uint8_t *)user + done, buf, n);
		if (res)
			return res;
	}

	return TEE_SUCCESS;
}
