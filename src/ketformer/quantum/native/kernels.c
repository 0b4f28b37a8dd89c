/* Circuits on tiles of states. First, circuits that all tokens share, followed by the expectations
   of many Pauli strings.

   A tile of tokens stays in the processor's cache from the first gate to the last string. Tokens
   are the innermost dimension, so every loop is vectorised. No state is written to memory for the
   backward pass, which runs the circuit again. */

#include <complex.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

/* In bytes, as wide as the processor's registers: what is wider is kept in memory. */
#if defined(__AVX512F__)
#define VECTOR 64
#define INSTRUCTIONS "AVX-512"
#elif defined(__AVX__)
#define VECTOR 32
#if defined(__AVX2__)
#define INSTRUCTIONS "AVX2"
#else
#define INSTRUCTIONS "AVX"
#endif
#else
#define VECTOR 16
#if defined(__SSE2__)
#define INSTRUCTIONS "SSE2"
#elif defined(__ARM_NEON)
#define INSTRUCTIONS "NEON"
#else
#define INSTRUCTIONS "128 bits"
#endif
#endif

/* What these kernels were compiled for. */
const char *instructions(void) { return INSTRUCTIONS; }

/* What a fold computes: sums, differences or both. */
enum { PLUS = 1, MINUS = 2 };

/* The most qubits of a circuit that all tokens share. */
#define MOST_QUBITS 32

enum { RX, RY, PERMUTE, RZ, FLIP, GROW, SQUARE };

/* Flush denormal numbers to 0 in a kernel: gradients through attention weights such as exp(-90)
   are denormal, and processors take a hundred times as long for them. The mode belongs to the
   thread; the previous one is returned for put_back. */
static inline uint64_t flush_denormals(void) {
#if defined(__SSE__)
    const uint32_t before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results to zero, operands are zero */
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (UINT64_C(1) << 24)));
    return before;
#else
    return 0;
#endif
}

static inline void put_back(uint64_t before) {
#if defined(__SSE__)
    _mm_setcsr((uint32_t)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

/* The bits of number where mask has a 1, packed together. */
static inline uint32_t closed_up(uint32_t number, uint32_t mask) {
#if defined(__BMI2__)
    return _pext_u32(number, mask);
#else
    uint32_t out = 0;
    for (uint32_t place = 1; mask; mask &= mask - 1, place <<= 1)
        if (number & mask & -mask) out |= place;
    return out;
#endif
}

/* Memory for tiles; NULL if there is none. Some systems give only multiples of the alignment. */
static inline void *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

struct shape {
    int32_t n_qubits;
    int32_t width;    /* number of given amplitudes; the rest up to 2^n_qubits are 0 */
    int32_t heads;
    int32_t states;   /* heads, or 1 if all heads start from the same state */
    int32_t strings;  /* per head, at most */
    int32_t n_angles; /* per head */
    int32_t n_layers;
    int32_t is_complex; /* whether states are, once there was a layer */
    int32_t normalise;  /* whether to divide each state, which is real, by its norm */
    /* Each layer: table index of its permutation or -1, its first gate, the gate after its last one,
       and whether no permutation follows. */
    const int32_t *layers;
    const int32_t *gates;   /* each: RX or RY, bit, angle; bit 0 is the lowest */
    const int32_t *sources; /* tables of 2^n_qubits: the amplitude that moves to each place */
    /* In batches: numbers of groups, folds and strings, and of sums. Each group: the flipped bits;
       the highest of them if products are taken only where it is 0; the bits that are transformed;
       its first sum. Each fold: kind, first sum, half their number. Each string: its index, that of
       its sum, what multiplies it forwards and backwards. */
    const int32_t *program;
    const int32_t *programs; /* each head's: begin, end, the bits of all its strings, the most sums */
};

/* Real circuits from |0…0>, with angles per state and angles that all states share. */
struct states_shape {
    int32_t n_qubits;
    int32_t groups;
    int32_t n_own;    /* own angles of each state in each group */
    int32_t n_angles; /* shared angles of each group */
    int32_t n_gates;
    int32_t whole; /* number of groups that run all gates; later ones run the first few */
    int32_t early; /* number of these */
    int32_t growing; /* number of leading gates that are RY on bits 0, 1, 2, … in this order */
    const int32_t *gates; /* as above, but only RY and PERMUTE; angles below n_own are own angles */
    const int32_t *sources;
};

/* Causal attention of few positions by products of queries and keys. */
struct mix_shape {
    int64_t size, length, width; /* numbers of a query and key; positions; numbers of a value */
    int64_t bends;               /* whether a score is the exponential of a product */
    double scale;                /* multiplies a product */
};

/* Causal attention by the distances of queries and keys, in memory that may have gaps. */
struct distance_shape {
    int64_t heads, length, width, mixed;
    int64_t query[3], key[3], value[3]; /* strides of sequences, heads and positions */
    int64_t seen;                       /* stride of sequences in the mask */
    int64_t bends;                      /* whether the score is an exponential */
    double scale;                       /* multiplies minus the squared distance */
};

/* Causal attention by overlaps of states of 2 groups for each head: its queries, then its keys. */
struct overlap_shape {
    struct states_shape states;
    int64_t length, width; /* positions; of a value */
    int64_t seen;          /* stride of sequences in the mask */
    double scale;          /* multiplies an overlap */
};

/* Circuits on a product state, followed by Z of some qubits. */
struct outcomes_shape {
    int32_t n_qubits;
    int32_t n_outcomes;
    int32_t groups;
    int32_t n_own;    /* own angles of each state in each group */
    int32_t n_angles; /* shared angles of each group */
    int32_t n_gates;
    /* Five numbers each. GROW, qubit puts a qubit on top of those so far; FLIP, target, control;
       SQUARE, after which come only FLIPs; or RX or RY (RZ for neither), bit, angle, target, angle
       of RZ: perhaps a CNOT first, controlled by the bit, perhaps RZ last (-1 for nothing). A qubit
       that is still alone has -1 - qubit for the bit. Angles below n_own are own angles. */
    const int32_t *gates;
    const int32_t *bits; /* where each outcome's qubit is */
};

/* One query of each sequence, keys and values in memory that may have gaps. */
struct query_shape {
    int64_t heads, keys, width, mixed; /* of a query and key; of a value */
    int64_t query[2], key[3], value[3]; /* strides of sequences, heads and positions */
    int64_t seen;                       /* stride of sequences in the mask */
    int64_t kind;                       /* the score */
    int64_t rows; /* 1; or width of the first part of a key, every number of which multiplies the second */
    double scale;                       /* multiplies it */
};

enum { BY_DOT, BY_GAUSSIAN, BY_SQUARE, BY_ABSOLUTE, BY_DOUBLE_EXPONENTIAL };

#define REAL float
#define WIDTH 4
#define BITS int32_t
#define NAME(x) x##_f32
#include "lanes.inc"
#include "rotations.inc"
#include "circuit_layers.inc"
#include "pauli_strings.inc"
#include "circuit_values.inc"
#include "circuit_states.inc"
#include "circuit_outcomes.inc"
#include "circuit_matrices.inc"
#include "one_query.inc"
#include "short_mix.inc"
#include "overlap_mix.inc"
#include "distance_mix.inc"
#undef LANES
#undef BITS
#undef WIDTH
#undef REAL
#undef NAME

#define REAL double
#define WIDTH 8
#define BITS int64_t
#define NAME(x) x##_f64
#include "lanes.inc"
#include "rotations.inc"
#include "circuit_layers.inc"
#include "pauli_strings.inc"
#include "circuit_values.inc"
#include "circuit_states.inc"
#include "circuit_outcomes.inc"
#include "circuit_matrices.inc"
#include "one_query.inc"
#include "short_mix.inc"
#include "overlap_mix.inc"
#include "distance_mix.inc"
#undef LANES
