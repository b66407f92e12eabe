// SPDX-License-Identifier: BSD-2-Clause
/*
 * Blobs that are not committed: a file each, which the root does not lead to.
 */

#include <assert.h>
#include <crypto/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib_ext.h>
#include <string.h>

#include "blob.h"
#include "erasure.h"
#include "state.h"

/* "otrp." and a number */
#define FILE_NAME_SIZE		sizeof("otrp.4294967295")

/* Protected by store_mutex */
static TAILQ_HEAD(, blob) blobs = TAILQ_HEAD_INITIALIZER(blobs);

static void blob_file_name(char *name, uint32_t file)
{
	int rc __maybe_unused = 0;

	rc = snprintf(name, FILE_NAME_SIZE, "otrp.%" PRIu32, file);
	assert(rc > 0 && rc < (int)FILE_NAME_SIZE);
}

TEE_Result blob_file_open(uint32_t file, int *fd)
{
	char name[FILE_NAME_SIZE] = { };

	blob_file_name(name, file);

	return file_open_known(name, fd);
}

TEE_Result blob_file_remove(uint32_t file)
{
	char name[FILE_NAME_SIZE] = { };

	blob_file_name(name, file);

	return file_remove(name);
}

static void close_blob(struct blob *blob)
{
	cipher_free(&blob->cipher);
	if (blob->fd >= 0)
		file_close(blob->fd);
	blob->fd = -1;
}

static void drop_blob(struct blob *blob)
{
	close_blob(blob);
	/* No commit leads to it: where this fails it does no harm */
	blob_file_remove(blob->entry.file);

	mutex_lock(&store_mutex);
	TAILQ_REMOVE(&blobs, blob, link);
	mutex_unlock(&store_mutex);
	free_wipe(blob);
}

/* Now it is known whether those whose commit had failed were committed */
void blobs_settle(void)
{
	struct blob *blob = NULL;
	struct blob *next = NULL;

	TAILQ_FOREACH_SAFE(blob, &blobs, link, next) {
		if (blob->session)
			continue;
		if (!state_find_file(blob->entry.file))
			blob_file_remove(blob->entry.file);
		TAILQ_REMOVE(&blobs, blob, link);
		free_wipe(blob);
	}
}

/*
 * The lowest number that no commit has used, so that what a power cut leaves
 * of blobs that were not committed is overwritten by the next ones.
 */
static TEE_Result choose_file(struct blob *chosen)
{
	struct blob *blob = NULL;
	uint32_t file = 0;

	for (file = store_state.root.next_file; file < UINT32_MAX; file++) {
		TAILQ_FOREACH(blob, &blobs, link)
			if (blob->entry.file == file)
				break;
		if (!blob) {
			chosen->entry.file = file;
			return TEE_SUCCESS;
		}
	}

	return TEE_ERROR_STORAGE_NO_SPACE;
}

/* Puts a blob on the list, so that its number is taken */
static TEE_Result reserve(struct blob *blob)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&store_mutex);
	res = state_load();
	if (!res)
		res = erasure_check_busy(&blob->entry.name);
	if (!res)
		res = choose_file(blob);
	if (!res)
		TAILQ_INSERT_TAIL(&blobs, blob, link);
	mutex_unlock(&store_mutex);

	return res;
}

static TEE_Result create_blob_file(struct blob *blob)
{
	char name[FILE_NAME_SIZE] = { };
	TEE_Result res = TEE_SUCCESS;

	res = crypto_rng_read(blob->entry.key, sizeof(blob->entry.key));
	if (res)
		return res;
	res = cipher_init(&blob->cipher, TEE_MODE_ENCRYPT, blob->entry.key,
			  MESSAGE_FIRST, blob->entry.size);
	if (res)
		return res;

	blob_file_name(name, blob->entry.file);
	return file_create(name, &blob->fd);
}

TEE_Result store_begin(struct store_session *session,
		       const struct blob_name *name, const uint8_t *owner,
		       uint32_t size, uint32_t version)
{
	TEE_Result res = TEE_SUCCESS;
	struct blob *blob = NULL;

	store_drop_open(session);
	if (session->pending_count == PTA_OTRP_STORE_PENDING_MAX)
		return TEE_ERROR_BAD_STATE;

	blob = calloc(1, sizeof(*blob));
	if (!blob)
		return TEE_ERROR_OUT_OF_MEMORY;
	blob->session = session;
	blob->fd = -1;
	blob->entry.name = *name;
	blob->entry.size = size;
	blob->entry.version = version;
	memcpy(blob->entry.owner, owner, sizeof(blob->entry.owner));

	res = reserve(blob);
	if (res) {
		free_wipe(blob);
		return res;
	}
	res = create_blob_file(blob);
	if (res) {
		drop_blob(blob);
		return res;
	}
	session->open = blob;

	return TEE_SUCCESS;
}

static TEE_Result append(struct blob *blob, const void *user, size_t len)
{
	struct transfer transfer = { };
	TEE_Result res = TEE_SUCCESS;

	if (len > blob->entry.size - blob->pos)
		return TEE_ERROR_EXCESS_DATA;

	res = transfer_init(&transfer, blob->fd, blob->pos, len);
	if (!res)
		res = transfer_write(&transfer, &blob->cipher, NULL, user, len);
	transfer_final(&transfer);
	blob->pos += len;

	return res;
}

TEE_Result store_write(struct store_session *session, const void *user,
		       size_t len)
{
	TEE_Result res = append(session->open, user, len);

	if (res)
		store_drop_open(session);

	return res;
}

TEE_Result store_seal(struct store_session *session)
{
	struct blob *blob = session->open;
	TEE_Result res = TEE_ERROR_BAD_STATE;
	size_t n = 0;

	if (blob->pos == blob->entry.size)
		res = cipher_seal(&blob->cipher, blob->entry.tag);
	if (res) {
		store_drop_open(session);
		return res;
	}

	session->open = NULL;
	close_blob(blob);

	for (n = 0; n < session->pending_count; n++)
		if (names_equal(&session->pending[n]->entry.name,
				&blob->entry.name))
			break;
	if (n < session->pending_count)
		drop_blob(session->pending[n]);
	else
		session->pending_count++;
	session->pending[n] = blob;

	return TEE_SUCCESS;
}

void store_drop_open(struct store_session *session)
{
	if (session->open)
		drop_blob(session->open);
	session->open = NULL;
}

void store_drop_all(struct store_session *session)
{
	store_drop_open(session);
	while (session->pending_count)
		drop_blob(session->pending[--session->pending_count]);
}
