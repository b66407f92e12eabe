// SPDX-License-Identifier: BSD-2-Clause
/*
 * Loads TAs and their libraries from the store.
 */

#include <crypto/crypto.h>
#include <kernel/tee_ta_manager.h>
#include <kernel/ts_manager.h>
#include <kernel/ts_store.h>
#include <kernel/user_ta.h>
#include <stdlib.h>
#include <stdlib_ext.h>
#include <string.h>
#include <tee_api_defines_extensions.h>

#include "store.h"

/*
 * struct ts_store_handle - an image that is being loaded
 * @tag:	What tells it from others to the core
 * @entry:	Its entry
 * @fd:		Its file
 * @pos:	Octets that were read
 * @cipher:	Has no context after a failure and at the end
 */
struct ts_store_handle {
	uint8_t tag[STORE_TAG_SIZE];
	struct entry entry;
	int fd;
	size_t pos;
	struct cipher cipher;
};

/*
 * TEE_ERROR_ITEM_NOT_FOUND and TEE_ERROR_STORAGE_NOT_AVAILABLE make the core
 * look in other TA stores, which may have something else under the UUID.
 */
static TEE_Result final_result(TEE_Result res)
{
	switch (res) {
	case TEE_ERROR_ITEM_NOT_FOUND:
	case TEE_ERROR_STORAGE_NOT_AVAILABLE:
		return TEE_ERROR_GENERIC;
	default:
		return res;
	}
}

/*
 * The TA that loads code: the image itself, or one that needs a library. None
 * of the core's own image may, which may have got the UUID of an image here,
 * nor one that has been replaced or removed.
 */
static const TEE_UUID *loading_ta(void)
{
	struct ts_session *s = ts_get_current_session_may_fail();

	if (!s || !is_user_ta_ctx(s->ctx) || is_reserved_uuid(&s->ctx->uuid) ||
	    to_ta_ctx(s->ctx)->is_releasing)
		return NULL;

	return &s->ctx->uuid;
}

static void image_close(struct ts_store_handle *h)
{
	if (!h)
		return;

	cipher_free(&h->cipher);
	if (h->fd >= 0)
		file_close(h->fd);
	free_wipe(h);
}

static TEE_Result image_open(const TEE_UUID *uuid,
			     struct ts_store_handle **handle)
{
	const TEE_UUID *for_ta = loading_ta();
	struct ts_store_handle *h = NULL;
	TEE_Result res = TEE_SUCCESS;

	if (!for_ta)
		return TEE_ERROR_ITEM_NOT_FOUND;

	h = calloc(1, sizeof(*h));
	if (!h)
		return TEE_ERROR_OUT_OF_MEMORY;
	h->fd = -1;

	res = store_open_image(uuid, for_ta, &h->entry, &h->fd);
	if (res) {
		image_close(h);
		return res == TEE_ERROR_ITEM_NOT_FOUND ? res :
							 final_result(res);
	}

	/*
	 * Instances share pages of files with the same tag as soon as they are
	 * read, before it is known that they are authentic: so no two have it.
	 */
	res = crypto_rng_read(h->tag, sizeof(h->tag));
	if (!res)
		res = cipher_init(&h->cipher, TEE_MODE_DECRYPT, h->entry.key,
				  MESSAGE_FIRST, h->entry.size);
	if (res) {
		image_close(h);
		return final_result(res);
	}

	*handle = h;
	return TEE_SUCCESS;
}

static TEE_Result image_get_size(const struct ts_store_handle *h, size_t *size)
{
	*size = h->entry.size;

	return TEE_SUCCESS;
}

static TEE_Result image_get_tag(const struct ts_store_handle *h, uint8_t *tag,
				unsigned int *tag_len)
{
	if (!tag || *tag_len < sizeof(h->tag)) {
		*tag_len = sizeof(h->tag);
		return TEE_ERROR_SHORT_BUFFER;
	}
	*tag_len = sizeof(h->tag);
	memcpy(tag, h->tag, sizeof(h->tag));

	return TEE_SUCCESS;
}

/* The read that reaches the end fails if anything before was not authentic */
static TEE_Result read_some(struct ts_store_handle *h, void *core, void *user,
			    size_t len)
{
	struct transfer transfer = { };
	TEE_Result res = TEE_SUCCESS;

	res = transfer_init(&transfer, h->fd, h->pos, len);
	if (!res)
		res = transfer_read(&transfer, &h->cipher, NULL, core, user,
				    len);
	transfer_final(&transfer);
	if (res)
		return res;

	h->pos += len;
	if (h->pos < h->entry.size)
		return TEE_SUCCESS;
	res = cipher_check(&h->cipher, h->entry.tag);
	cipher_free(&h->cipher);

	return res;
}

/* ldelf reads to the end before it runs anything, when it closes a file */
static TEE_Result image_read(struct ts_store_handle *h, void *core, void *user,
			     size_t len)
{
	TEE_Result res = TEE_SUCCESS;

	if (len > h->entry.size - h->pos)
		return TEE_ERROR_BAD_PARAMETERS;
	if (!len)
		return TEE_SUCCESS;
	if (!h->cipher.ctx)
		return TEE_ERROR_BAD_STATE;

	res = read_some(h, core, user, len);
	if (res)
		cipher_free(&h->cipher);

	return final_result(res);
}

REGISTER_TA_STORE(4) = {
	.description = "OTrP store",
	.open = image_open,
	.get_size = image_get_size,
	.get_tag = image_get_tag,
	.read = image_read,
	.close = image_close,
};
