use super::*;
use crate::error::{Code, Failure};

const HOUR: Duration = Duration::from_secs(3600);
/// The wall clock when the system started.
const START: u64 = 1_800_000_000_000;

/// A moment so long after the start.
fn at(since: Duration) -> Now {
    Now {
        wall: UnixMs(START).plus(since),
        boot: since,
    }
}

fn account(number: usize, provider: &str, obtained: Duration, version: u64) -> Due {
    Due {
        name: format!("oauth/{provider}/{number:03}").parse().unwrap(),
        version,
        provider: provider.to_owned(),
        obtained_at: UnixMs(START).plus(obtained),
        expires_at: UnixMs(START).plus(obtained + HOUR),
    }
}

fn failed() -> Renewal {
    Renewal::Failed(Failure::new(Code::OAuthUnavailable, "503"))
}

/// A day in the life of accounts: each renewal takes as long as its provider does.
struct Simulation {
    schedule: Schedule,
    accounts: Vec<Due>,
    running: Vec<(Duration, RecordName)>,
    now: Duration,
    seed: u64,
    /// When each renewal began, and of whom.
    started: Vec<(Duration, RecordName)>,
    most: usize,
    late: Vec<RecordName>,
}

impl Simulation {
    fn new(accounts: Vec<Due>) -> Self {
        let mut simulation = Self {
            schedule: Schedule::default(),
            accounts,
            running: Vec::new(),
            now: Duration::ZERO,
            seed: 0,
            started: Vec::new(),
            most: 0,
            late: Vec::new(),
        };
        simulation.update();
        simulation
    }

    fn update(&mut self) {
        let seed = &mut self.seed;
        let mut next = || {
            *seed += 1;
            *seed
        };
        self.schedule
            .update(self.accounts.clone(), at(self.now), &mut next);
    }

    /// Goes on to a time. `cost` is how long a renewal of a provider takes.
    fn run(&mut self, until: Duration, cost: &dyn Fn(&str) -> Duration) {
        while self.now < until {
            self.land();
            for due in self.schedule.start(at(self.now)) {
                self.started.push((self.now, due.name.clone()));
                let end = self.now + cost(&due.provider);
                self.running.push((end, due.name));
            }
            self.most = self.most.max(self.running.len());
            let next = self.schedule.next(at(self.now));
            let wall = next.wall.map(|wall| UnixMs(START).until(wall));
            let landing = self.running.iter().map(|(end, _)| *end).min();
            let times = [next.boot, wall, landing].into_iter().flatten();
            let step = Duration::from_millis(1);
            self.now = times.min().unwrap_or(until).max(self.now + step).min(until);
        }
    }

    fn land(&mut self) {
        let now = self.now;
        let (ended, running) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|(end, _)| *end <= now);
        self.running = running;
        for (_, name) in ended {
            self.schedule.finish(&name, &Renewal::Done, at(now), 1);
            let account = self.accounts.iter_mut().find(|a| a.name == name).unwrap();
            if at(now).wall > account.expires_at {
                self.late.push(name);
            }
            account.version += 1;
            account.obtained_at = at(now).wall;
            account.expires_at = at(now).wall.plus(HOUR);
        }
        self.update();
    }

    /// The most starts within any window of this length.
    fn busiest(&self, window: Duration) -> usize {
        let within = |start: Duration| {
            let inside = |(at, _): &&(Duration, RecordName)| *at >= start && *at < start + window;
            self.started.iter().filter(inside).count()
        };
        self.started
            .iter()
            .map(|(at, _)| within(*at))
            .max()
            .unwrap_or(0)
    }
}

const QUICK: Duration = Duration::from_millis(300);

/// All 500 signed in at the same moment, as after a migration.
#[test]
fn five_hundred_profiles_are_renewed_in_an_hour_without_a_herd() {
    let accounts = (0..500)
        .map(|i| account(i, "acme", Duration::ZERO, 1))
        .collect();
    let mut simulation = Simulation::new(accounts);
    simulation.run(HOUR, &|_| QUICK);
    let mut renewed: Vec<&RecordName> = simulation.started.iter().map(|(_, name)| name).collect();
    renewed.sort();
    renewed.dedup();
    assert_eq!(renewed.len(), 500, "every account was renewed");
    assert_eq!(simulation.started.len(), 500, "and none twice");
    assert!(simulation.late.is_empty());
    assert!(simulation.most <= MAX_OF_PROVIDER);
    // 500 within 738 s are 0.7 a second on average.
    let second = simulation.busiest(Duration::from_secs(1));
    let ten = simulation.busiest(Duration::from_secs(10));
    assert!(
        second <= 6 && ten <= 20,
        "{second} in a second, {ten} in ten"
    );
}

#[test]
fn after_a_suspend_everything_is_renewed_one_after_the_other() {
    let accounts = (0..500)
        .map(|i| account(i, "acme", Duration::ZERO, 1))
        .collect();
    let mut simulation = Simulation::new(accounts);
    simulation.now = 5 * HOUR;
    simulation.run(5 * HOUR + Duration::from_secs(120), &|_| QUICK);
    assert_eq!(simulation.started.len(), 500);
    assert!(simulation.most <= MAX_OF_PROVIDER);
    assert!(simulation.busiest(SPACING) <= 1);
    assert!(simulation.busiest(Duration::from_secs(1)) <= 10);
}

#[test]
fn a_provider_that_stalls_leaves_room_for_the_others() {
    let mut accounts: Vec<Due> = (0..100)
        .map(|i| account(i, "stalls", Duration::ZERO, 1))
        .collect();
    accounts.extend((0..100).map(|i| account(i, "works", Duration::ZERO, 1)));
    let mut simulation = Simulation::new(accounts);
    simulation.run(HOUR, &|provider| match provider {
        "stalls" => Duration::from_secs(60),
        _ => QUICK,
    });
    let of_works = simulation
        .started
        .iter()
        .filter(|(_, name)| name.as_str().contains("works"));
    assert_eq!(of_works.count(), 100);
    let late = simulation
        .late
        .iter()
        .filter(|name| name.as_str().contains("works"));
    assert_eq!(late.count(), 0);
    assert!(simulation.most <= MAX_RENEWALS);
}

#[test]
fn the_earlier_of_both_clocks_counts() {
    let day = Duration::from_secs(86_400);
    let due = |now: Now| {
        let mut schedule = Schedule::default();
        let accounts = vec![account(0, "acme", Duration::ZERO, 1)];
        schedule.update(accounts, at(Duration::ZERO), &mut || 1);
        !schedule.start(now).is_empty()
    };
    let soon = Duration::from_secs(60);
    assert!(!due(at(soon)));
    // The wall clock jumps ahead; or it is set back, and an hour goes by all the same.
    let wall = UnixMs(START).plus(day);
    assert!(due(Now { wall, boot: soon }));
    let wall = UnixMs(START - 86_400_000);
    assert!(due(Now { wall, boot: HOUR }));
    // A token from what is now the future: no longer than its own lifetime.
    let mut schedule = Schedule::default();
    schedule.update(
        vec![account(0, "acme", day, 1)],
        at(Duration::ZERO),
        &mut || 1,
    );
    assert!(schedule.start(at(soon)).is_empty());
    assert_eq!(schedule.start(at(HOUR)).len(), 1);
}

#[test]
fn failures_are_waited_out_longer_each_time_and_told_once() {
    let mut schedule = Schedule::default();
    let accounts = || vec![account(0, "acme", Duration::ZERO, 1)];
    schedule.update(accounts(), at(Duration::ZERO), &mut || 1);
    let (mut now, mut waits) = (HOUR, Vec::new());
    for round in 0..8 {
        let [due] = schedule.start(at(now)).try_into().unwrap();
        assert!(
            schedule.start(at(now + SPACING)).is_empty(),
            "it runs already"
        );
        let told = schedule.finish(&due.name, &failed(), at(now), 1);
        assert_eq!(told, round == 0);
        // A listing that finds nothing new changes nothing.
        schedule.update(accounts(), at(now), &mut || 1);
        let next = schedule.next(at(now)).boot.unwrap();
        waits.push(next - now);
        now = next;
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(*waits.last().unwrap() <= MAX_BACKOFF);
    // A new token starts anew.
    let fresh = vec![account(0, "acme", now, 2)];
    schedule.update(fresh, at(now), &mut || 1);
    assert!(schedule.next(at(now)).boot.unwrap() > now + HOUR / 2);
}

#[test]
fn accounts_come_and_go() {
    let mut schedule = Schedule::default();
    assert_eq!(schedule.next(at(HOUR)), Next::default());
    schedule.update(
        vec![account(0, "acme", Duration::ZERO, 1)],
        at(HOUR),
        &mut || 1,
    );
    let [due] = schedule.start(at(HOUR)).try_into().unwrap();
    // It is signed out while its renewal runs, which still counts.
    schedule.update(Vec::new(), at(HOUR), &mut || 1);
    assert_eq!(schedule.running(), 1);
    assert!(!schedule.finish(&due.name, &Renewal::Gone, at(HOUR), 1));
    assert_eq!(schedule.running(), 0);
    assert_eq!(schedule.next(at(HOUR)), Next::default());
    // One that has to sign in is told, and left alone.
    schedule.update(vec![due.clone()], at(HOUR), &mut || 1);
    schedule.start(at(2 * HOUR));
    assert!(schedule.finish(&due.name, &Renewal::SignIn, at(2 * HOUR), 1));
    assert!(schedule.start(at(2 * HOUR + SPACING)).is_empty());
}
