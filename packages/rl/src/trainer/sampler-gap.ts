/**
 * How far the sampler's log-probs are from those of the forward pass that learns. They are the same policy, so the gap is
 * numerical noise; where it is not, the two disagree about something (temperature, positions, cached state), and training
 * silently goes wrong. Metric names follow TRL.
 */
export class SamplerGap {
  #sum = 0
  #max = 0
  #tokens = 0

  add(sampler: ArrayLike<number>, learner: ArrayLike<number>): void {
    for (let t = 0; t < sampler.length; t++) {
      const difference = Math.abs((sampler[t] as number) - (learner[t] as number))
      this.#sum += difference
      this.#max = Math.max(this.#max, difference)
    }
    this.#tokens += sampler.length
  }

  metrics(): { readonly [metric: string]: number } {
    if (this.#tokens === 0) return {}
    return {
      'sampling/sampling_logp_difference/mean': this.#sum / this.#tokens,
      'sampling/sampling_logp_difference/max': this.#max,
    }
  }
}
