/**
 * Which thread owns which descriptor, in memory that threads share: descriptors belong to the process, so those of a
 * thread that died would stay open if nobody could tell which they were.
 */
import type { Syscalls } from './syscalls.ts'

/** One byte per descriptor: 0 for nobody, else the owner plus one. */
export class DescriptorTable {
  readonly #syscalls: Syscalls
  readonly #owners: Uint8Array
  readonly #mark: number

  /**
   * @param options.memory shared by all owners, one byte for each descriptor that the process may have; what is
   *   beyond it works too, and is left open when its owner dies
   * @param options.owner 0–254
   */
  constructor(
    deps: { readonly syscalls: Syscalls },
    options: { readonly memory: SharedArrayBuffer | ArrayBuffer; readonly owner: number },
  ) {
    this.#syscalls = deps.syscalls
    this.#owners = new Uint8Array(options.memory)
    this.#mark = options.owner + 1
  }

  /** Takes over a descriptor that a call returned; a failure (-1) is given back as it is. */
  opened(fd: number): number {
    if (fd >= 0) this.#owners[fd] = this.#mark
    return fd
  }

  /** Takes over a descriptor that another thread has opened and handed on. */
  adopt(fd: number): void {
    this.#owners[fd] = this.#mark
  }

  /** Closes a descriptor that this table's owner has opened. */
  close(fd: number): void {
    // First the note: once closed, the number can be another thread's.
    this.#owners[fd] = 0
    this.#syscalls.close(fd)
  }

  /** Closes everything that an owner left behind, and says how many. Only for an owner that runs no more. */
  closeOwnedBy(owner: number, beforeClose: (fd: number) => void = () => undefined): number {
    let count = 0
    for (let fd = this.#owners.indexOf(owner + 1); fd >= 0; fd = this.#owners.indexOf(owner + 1, fd + 1)) {
      beforeClose(fd)
      this.close(fd)
      count++
    }
    return count
  }

  /** How many descriptors this table's owner has open. */
  get count(): number {
    return this.#owners.reduce((sum, mark) => sum + Number(mark === this.#mark), 0)
  }
}
