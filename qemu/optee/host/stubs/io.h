/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IO_H
#define IO_H

#include <types_ext.h>

uint32_t io_read32(vaddr_t va);
void io_write32(vaddr_t va, uint32_t value);

#endif
