// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pseudo TA of the lab image: how much of its stack a user TA has used, and
 * what lies in the memory that it can write to.
 *
 * A TA's stack begins as zeros and has no guard page, so the lowest octet that
 * is not zero tells how deep the TA went since it was loaded. That is a lower
 * bound: a frame may end in zeros that it wrote itself. Never in a product: it
 * serves anybody, and reads other TAs' memory.
 */

#include <kernel/pseudo_ta.h>
#include <kernel/tee_ta_manager.h>
#include <kernel/user_access.h>
#include <kernel/user_mode_ctx.h>
#include <kernel/user_ta.h>
#include <mm/vm.h>
#include <string.h>
#include <tee/uuid.h>
#include <util.h>

#define LAB_MEMORY_UUID { 0x3a0dcf3c, 0x8e0c, 0x4f7b, \
		{ 0x9a, 0x0b, 0x2d, 0x6b, 0x1c, 0x52, 0x77, 0x1e } }

/*
 * PEAK - [in]  memref[0]	UUID, 16 octets in network order
 *	  [out] value[1].a	Octets of stack that were used
 *	  [out] value[1].b	Octets of stack that there are
 */
#define LAB_MEMORY_PEAK		0

/*
 * READ - [in]  memref[0]	UUID, 16 octets in network order
 *	  [in]  value[1].a	Where to begin in the TA's writable memory, whose
 *				regions are counted as if one followed another
 *	  [out] memref[2]	What lies there; shorter than asked for at the end
 *	  [out] value[3].a	Octets of writable memory that there are
 */
#define LAB_MEMORY_READ		1

#define WORD_ALIGNED(va) (!((va) & (sizeof(uint64_t) - 1)))

static struct tee_ta_ctx *find_user_ta(const TEE_UUID *uuid)
{
	struct tee_ta_ctx *ctx = NULL;

	TAILQ_FOREACH(ctx, &tee_ctxes, link)
		if (is_user_ta_ctx(&ctx->ts_ctx) && !ctx->panicked &&
		    !memcmp(&ctx->ts_ctx.uuid, uuid, sizeof(*uuid)))
			return ctx;

	return NULL;
}

/* The region that ends where the stack begins */
static struct vm_region *stack_of(struct user_mode_ctx *uctx)
{
	struct vm_region *region = NULL;

	TAILQ_FOREACH(region, &uctx->vm_info.regions, link)
		if (uctx->stack_ptr > region->va &&
		    uctx->stack_ptr <= region->va + region->size)
			return region;

	return NULL;
}

static TEE_Result measure(struct tee_ta_ctx *ctx, uint32_t *used,
			  uint32_t *size)
{
	struct user_mode_ctx *uctx = to_user_mode_ctx(&ctx->ts_ctx);
	struct vm_region *stack = stack_of(uctx);
	vaddr_t va = 0;

	if (!stack || !WORD_ALIGNED(stack->va) ||
	    !WORD_ALIGNED(uctx->stack_ptr))
		return TEE_ERROR_BAD_STATE;

	/* The caller is the normal world, so no user TA is mapped now */
	vm_set_ctx(&ctx->ts_ctx);
	enter_user_access();
	for (va = stack->va; va < uctx->stack_ptr; va += sizeof(uint64_t))
		if (*(const uint64_t *)va)
			break;
	exit_user_access();
	vm_set_ctx(NULL);

	*used = uctx->stack_ptr - va;
	*size = uctx->stack_ptr - stack->va;
	return TEE_SUCCESS;
}

static void read_writable(struct tee_ta_ctx *ctx, size_t from,
			  TEE_Param *out, uint32_t *total)
{
	struct user_mode_ctx *uctx = to_user_mode_ctx(&ctx->ts_ctx);
	struct vm_region *region = NULL;
	uint8_t *dst = out->memref.buffer;
	size_t room = out->memref.size;
	size_t start = 0;

	vm_set_ctx(&ctx->ts_ctx);
	enter_user_access();
	TAILQ_FOREACH(region, &uctx->vm_info.regions, link) {
		if (!(region->attr & TEE_MATTR_UW))
			continue;
		if (from < start + region->size && room) {
			size_t skip = from - start;
			size_t n = MIN(room, region->size - skip);

			memcpy(dst, (const void *)(region->va + skip), n);
			dst += n;
			room -= n;
			from += n;
		}
		start += region->size;
	}
	exit_user_access();
	vm_set_ctx(NULL);

	out->memref.size -= room;
	*total = start;
}

static TEE_Result find_from_param(const TEE_Param *param,
				  struct tee_ta_ctx **ctx)
{
	TEE_UUID uuid = { };

	if (param->memref.size != sizeof(uuid) || !param->memref.buffer)
		return TEE_ERROR_BAD_PARAMETERS;

	tee_uuid_from_octets(&uuid, param->memref.buffer);
	*ctx = find_user_ta(&uuid);
	if (!*ctx)
		return TEE_ERROR_ITEM_NOT_FOUND;

	return TEE_SUCCESS;
}

static TEE_Result cmd_peak(uint32_t types, TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_VALUE_OUTPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	struct tee_ta_ctx *ctx = NULL;
	TEE_Result res = TEE_SUCCESS;

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;

	res = find_from_param(params, &ctx);
	if (res)
		return res;

	return measure(ctx, &params[1].value.a, &params[1].value.b);
}

static TEE_Result cmd_read(uint32_t types, TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_VALUE_INPUT,
						   TEE_PARAM_TYPE_MEMREF_OUTPUT,
						   TEE_PARAM_TYPE_VALUE_OUTPUT);
	struct tee_ta_ctx *ctx = NULL;
	TEE_Result res = TEE_SUCCESS;

	if (types != exp_types || !params[2].memref.buffer)
		return TEE_ERROR_BAD_PARAMETERS;

	res = find_from_param(params, &ctx);
	if (res)
		return res;

	read_writable(ctx, params[1].value.a, params + 2, &params[3].value.a);
	return TEE_SUCCESS;
}

static TEE_Result invoke_command(void *session __unused, uint32_t cmd,
				 uint32_t types,
				 TEE_Param params[TEE_NUM_PARAMS])
{
	switch (cmd) {
	case LAB_MEMORY_PEAK:
		return cmd_peak(types, params);
	case LAB_MEMORY_READ:
		return cmd_read(types, params);
	default:
		return TEE_ERROR_NOT_IMPLEMENTED;
	}
}

pseudo_ta_register(.uuid = LAB_MEMORY_UUID, .name = "lab_memory.pta",
		   .flags = PTA_DEFAULT_FLAGS,
		   .invoke_command_entry_point = invoke_command);
