use super::ranges::Ranges;
use super::*;
use proptest::prelude::*;
use std::sync::Barrier;

/// Arenas are never unmapped; tests make a few small ones and leave them to the process's end.
fn arena(capacity: usize, best: Backing) -> &'static Arena {
    Box::leak(Box::new(Arena::map(capacity, best)))
}

fn address(block: &LockedBytes) -> usize {
    block.start.as_ptr() as usize
}

fn all_bytes(arena: &Arena) -> &[u8] {
    // SAFETY: the mapping lives for ever; the tests that call this hold no `&mut` into it.
    unsafe { std::slice::from_raw_parts(arena.start.as_ptr(), arena.capacity) }
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1usize..700).prop_map(Step::Take),
        2 => any::<usize>().prop_map(Step::Drop),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn blocks_never_overlap_start_as_zeros_and_are_wiped(steps in steps()) {
        let arena = arena(16 << 10, Backing::Locked);
        let mut held: Vec<(u8, LockedBytes)> = Vec::new();
        let mut mark = 0u8;
        for step in steps {
            match step {
                Step::Take(len) => {
                    let mut block = LockedBytes::zeroed_in(arena, len);
                    prop_assert_eq!(block.len(), len);
                    prop_assert!(block.as_slice().iter().all(|byte| *byte == 0));
                    mark = mark % 250 + 1;
                    block.as_mut_slice().fill(mark);
                    held.push((mark, block));
                }
                Step::Drop(which) if !held.is_empty() => {
                    held.swap_remove(which % held.len());
                }
                Step::Drop(_) => {}
            }
            for (mark, block) in &held {
                prop_assert!(block.as_slice().iter().all(|byte| byte == mark));
            }
        }
        held.clear();
        prop_assert!(all_bytes(arena).iter().all(|byte| *byte == 0));
        prop_assert_eq!(arena.status().used, 0);
        prop_assert_eq!(arena.status().overflow, 0);
    }

    #[test]
    fn free_ranges_are_what_a_bitmap_says(steps in steps()) {
        const SIZE: usize = 2000;
        let mut ranges = Ranges::all(SIZE);
        let mut taken = vec![false; SIZE];
        let mut held: Vec<(usize, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Take(len) => {
                    let longest = taken.split(|taken| *taken).map(<[bool]>::len).max();
                    let got = ranges.take(len);
                    prop_assert_eq!(got.is_some(), longest >= Some(len));
                    if let Some(start) = got {
                        prop_assert!(!taken[start..start + len].contains(&true));
                        taken[start..start + len].fill(true);
                        held.push((start, len));
                    }
                }
                Step::Drop(which) if !held.is_empty() => {
                    let (start, len) = held.swap_remove(which % held.len());
                    taken[start..start + len].fill(false);
                    ranges.give_back(start, len);
                }
                Step::Drop(_) => {}
            }
            prop_assert_eq!(ranges.free(), taken.iter().filter(|taken| !**taken).count());
        }
    }
}

#[test]
fn a_block_is_wiped_when_it_is_dropped_and_its_neighbours_are_not() {
    let arena = arena(16 << 10, Backing::SecretMemory);
    let mut left = LockedBytes::zeroed_in(arena, 16);
    let mut middle = LockedBytes::zeroed_in(arena, 40);
    let mut right = LockedBytes::zeroed_in(arena, 16);
    for block in [&mut left, &mut middle, &mut right] {
        block.as_mut_slice().fill(0xAB);
    }
    let at = address(&middle) - address(&left);
    drop(middle);
    assert_eq!(&all_bytes(arena)[at..at + 48], &[0; 48]);
    assert_eq!(left.as_slice(), &[0xAB; 16]);
    assert_eq!(right.as_slice(), &[0xAB; 16]);
}

#[test]
fn a_full_arena_overflows_to_the_heap_and_recovers() {
    let arena = arena(LEAST, Backing::SecretMemory);
    let mut held: Vec<_> = (0..arena.capacity / 64)
        .map(|_| LockedBytes::zeroed_in(arena, 64))
        .collect();
    assert_eq!(arena.status().used, arena.capacity);
    assert_eq!(arena.status().overflow, 0);
    let mut over = LockedBytes::zeroed_in(arena, 100);
    over.as_mut_slice().fill(7);
    assert!(over.home == Home::Heap && over.as_slice() == [7; 100]);
    assert_eq!(arena.status().overflow, 100);
    drop(over);
    assert_eq!(arena.status().overflow, 0);
    held.pop();
    assert!(LockedBytes::zeroed_in(arena, 64).home == Home::Arena);
}

#[test]
fn one_block_larger_than_the_arena_works() {
    let arena = arena(LEAST, Backing::Locked);
    let mut block = LockedBytes::zeroed_in(arena, arena.capacity + 1);
    block.as_mut_slice().fill(1);
    assert!(block.home == Home::Heap);
    assert_eq!(arena.status().used, 0);
}

#[test]
fn a_snapshot_of_ten_thousand_small_values_fits() {
    let arena = arena(CAPACITY, Backing::SecretMemory);
    let held: Vec<_> = (0..10_000)
        .map(|i| LockedBytes::zeroed_in(arena, 20 + i % 200))
        .collect();
    if arena.capacity == CAPACITY {
        assert_eq!(arena.status().overflow, 0);
        assert!(held.iter().all(|block| block.home == Home::Arena));
    }
}

#[test]
fn threads_get_different_memory() {
    let arena = arena(64 << 10, Backing::SecretMemory);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 1..=8u8 {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let mut held = std::collections::VecDeque::new();
                for round in 0..2000usize {
                    let mut block = LockedBytes::zeroed_in(arena, 1 + (round * 37) % 500);
                    assert!(block.as_slice().iter().all(|byte| *byte == 0));
                    block.as_mut_slice().fill(thread);
                    held.push_back(block);
                    if held.len() > 20 {
                        let old = held.pop_front();
                        assert!(old.is_some_and(|old| {
                            old.as_slice().iter().all(|byte| *byte == thread)
                        }));
                    }
                }
            });
        }
    });
    assert_eq!(arena.status().used, 0);
    assert!(all_bytes(arena).iter().all(|byte| *byte == 0));
}

#[test]
fn each_backing_works_and_worse_ones_say_so() {
    for best in [Backing::SecretMemory, Backing::Locked, Backing::Unlocked] {
        let arena = arena(LEAST, best);
        let mut block = LockedBytes::zeroed_in(arena, 33);
        block.as_mut_slice().fill(9);
        assert_eq!(block.as_slice(), &[9; 33]);
        assert_eq!(arena.status().used, 48);
        assert!(best != Backing::Unlocked || arena.backing == Backing::Unlocked);
        assert!(best != Backing::Locked || arena.backing != Backing::SecretMemory);
    }
}

#[test]
fn secret_memory_can_not_be_read_through_proc() {
    use std::os::unix::fs::FileExt;
    let arena = arena(LEAST, Backing::SecretMemory);
    let mut block = LockedBytes::zeroed_in(arena, 32);
    block.as_mut_slice().fill(0x5A);
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut seen = [0u8; 32];
    let read = memory.read_exact_at(&mut seen, address(&block) as u64);
    // Only this backing promises it; where the kernel gave another one, status says so.
    assert_eq!(
        read.is_ok() && seen == [0x5A; 32],
        arena.backing != Backing::SecretMemory
    );
}

#[test]
fn a_forked_child_has_nothing_of_it() {
    const MARK: u8 = 0x7b;
    for best in [Backing::SecretMemory, Backing::Locked, Backing::Unlocked] {
        let arena = arena(4096, best);
        let mut block = LockedBytes::zeroed_in(arena, 32);
        block.as_mut_slice().fill(MARK);
        // SAFETY: the child reads one byte, or is ended by that, and calls nothing but _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above; without the page this is a fault, which is what is looked for.
            unsafe { libc::_exit(i32::from(block.start.as_ptr().read_volatile())) };
        }
        let mut status = 0;
        // SAFETY: waits for the own child, into an integer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        let seen = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        assert_ne!(seen, Some(i32::from(MARK)), "{best:?}");
        if arena.status().backing != Backing::SecretMemory {
            assert_eq!(seen, Some(0), "{best:?}");
        }
        assert_eq!(block.as_slice(), [MARK; 32]);
    }
}

#[test]
fn guard_pages_stand_on_both_sides() {
    let arena = arena(LEAST, Backing::SecretMemory);
    let start = arena.start.as_ptr() as usize;
    let end = start + arena.capacity;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let access_at = |address: usize| {
        maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let from = usize::from_str_radix(from, 16).ok()?;
            let to = usize::from_str_radix(to, 16).ok()?;
            (from..to).contains(&address).then(|| rest[..3].to_owned())
        })
    };
    assert_eq!(access_at(start - 1).as_deref(), Some("---"));
    assert_eq!(access_at(start).as_deref(), Some("rw-"));
    assert_eq!(access_at(end - 1).as_deref(), Some("rw-"));
    assert_eq!(access_at(end).as_deref(), Some("---"));
}

#[test]
fn a_fresh_arena_touches_no_page() {
    let arena = arena(CAPACITY, Backing::Locked);
    if arena.backing == Backing::Unlocked {
        return;
    }
    let page = rustix::param::page_size();
    let mut resident = vec![0u8; arena.capacity / page];
    // SAFETY: the range is mapped and the vector has one byte for each of its pages.
    let got = unsafe {
        libc::mincore(
            arena.start.as_ptr().cast(),
            arena.capacity,
            resident.as_mut_ptr(),
        )
    };
    assert_eq!(got, 0);
    assert!(resident.iter().all(|page| page & 1 == 0));
}
