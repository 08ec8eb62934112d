// How fast this tab answers: a minute's labels, and what is left at that pace. Breaks do not count.

const WINDOW = 180_000; // milliseconds that are looked back
const BREAK = 30_000; // a longer gap is a break

export class Pace {
  constructor() {
    this.moments = []; // [when, how many]
  }

  record(count, now = performance.now()) {
    this.moments.push([now, count]);
    while (this.moments.length && now - this.moments[0][0] > WINDOW) this.moments.shift();
  }

  /** Items per minute; 0 while too few are known. */
  get perMinute() {
    let time = 0;
    let count = 0;
    for (let place = 1; place < this.moments.length; place++) {
      const gap = this.moments[place][0] - this.moments[place - 1][0];
      if (gap > BREAK) continue;
      time += gap;
      count += this.moments[place][1];
    }
    return count >= 3 && time > 0 ? (60_000 * count) / time : 0;
  }
}

/** `about 4 min`, for so many items at so many per minute. */
export function timeLeft(items, perMinute) {
  if (!perMinute || !items) return "";
  const minutes = items / perMinute;
  if (minutes < 1) return "less than a minute left";
  if (minutes < 90) return `about ${Math.round(minutes)} min left`;
  return `about ${(minutes / 60).toFixed(1)} h left`;
}
