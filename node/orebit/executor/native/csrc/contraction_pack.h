/* Packing through offset tables: one side of an exact product, quantised on the way where its source is f32. */
#ifndef OREBIT_CONTRACTION_PACK_H
#define OREBIT_CONTRACTION_PACK_H

#include <stdint.h>

/* Lanes of a panel, at most. */
#define MAX_PANEL 16

/* How a panel lies: `group` consecutive depths of each of `panel` lanes, then the next group of depths. */
enum contraction_packed { PACKED_I16, PACKED_I8, PACKED_F64 };

/* One side: element (o, lane, k) is at source[outer[o] + lane_offsets[lane] + depth_offsets[k]]. All words. */
struct contraction_side {
    const void *source;
    int64_t type;
    const int64_t *outer;
    const int32_t *lane_offsets;
    const int32_t *depth_offsets;
    /* Whether the eight depths from k, or the eight lanes from l (a panel's, where it has fewer), are consecutive
     * elements; NULL: seldom. Where depths are, they are what is read together. */
    const uint8_t *lane_runs;
    const uint8_t *depth_runs;
    int64_t paired; /* 16-bit pairs already lie side by side: depths 2p and 2p + 1, and the next lane behind them */
    int64_t lanes;
    int64_t depth;
    /* Exponents of a quantise map: of (o, lane) at exponents[exponent_outer[o] + exponent_offsets[lane]]; f32 only. */
    const int16_t *exponents;
    const int64_t *exponent_outer;
    const int32_t *exponent_offsets;
    int64_t bits;
    int64_t tame; /* whether each exponent is proven to be its group's: no digit is clamped, but where one is NOT_FINITE */
    int64_t panel;
    int64_t packed_type;
    int64_t depth_unit; /* the packed depth is a multiple of this, the rest 0 */
};

/* Bytes of `panels` panels over `depth` terms. */
int64_t contraction_packed_bytes(const struct contraction_side *side, int64_t panels, int64_t depth);

/* Packs panels [first, last) of outer position `o`, depths [from, to), one panel behind the other, with their norms. */
void contraction_pack(const struct contraction_side *side, int64_t o, int64_t first, int64_t last, int64_t from,
                      int64_t to, void *packed, float *norms);

/* The NORMS of product16.h of one packed panel of int16, whose pairs are a multiple of 8; at most 16 lanes. */
void contraction_norms(const int16_t *panel, int64_t lanes, int64_t pairs, float *norms);

#endif
