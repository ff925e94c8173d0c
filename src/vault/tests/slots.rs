//! Keyslots: absent is not broken, costs are bounded, recovery codes survive people.

use super::slot::{
    KdfLimit, KdfParams, age_payload, age_plaintext, open_passphrase, open_raw, recovery,
    root_from_age_plaintext,
};
use super::*;
use proptest::prelude::*;

fn text(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn passphrase_slot(keyfile: Option<SecretValue>) -> NewSlot {
    NewSlot::Passphrase {
        passphrase: text("pass"),
        keyfile,
        kdf: KdfParams::MINIMAL,
    }
}

fn same(left: &RootKey, right: &RootKey) -> bool {
    left.expose() == right.expose()
}

/// A header with this slot as its second.
fn with_slot(world: &mut World, new: &NewSlot) -> (Header, Slot) {
    let context = SlotContext::of(world.vault.header());
    let new = new.wrap(&context, &world.root, &mut world.rng).unwrap();
    let slots = slot::add(world.vault.header().slots(), new.clone()).unwrap();
    world.rewrite(Rewrite::Slots(slots), 0).unwrap();
    (world.vault.header().clone(), new)
}

#[test]
fn a_passphrase_slot_opens_with_its_passphrase_only() {
    let mut world = World::new("passphrase");
    let (header, slot) = with_slot(&mut world, &passphrase_slot(None));
    let open = |pass: &str| open_passphrase(&header, &slot, &text(pass), None, &KdfLimit::DEFAULT);
    assert!(same(&open("pass").unwrap().unwrap(), &world.root));
    assert!(open("Pass").unwrap().is_none(), "absent is not broken");
    assert_eq!(open("").err(), Some(VaultError::Passphrase));
    assert!(header.verify(&world.root).is_ok());
}

#[test]
fn a_key_file_is_needed_where_the_slot_says_so() {
    let mut world = World::new("keyfile");
    let key = SecretValue::copy_of(&[5; 32]);
    let (header, slot) = with_slot(&mut world, &passphrase_slot(Some(key.clone())));
    assert!(matches!(
        slot.kind,
        SlotKind::Passphrase { keyfile: true, .. }
    ));
    let open = |key: Option<&SecretValue>| {
        open_passphrase(&header, &slot, &text("pass"), key, &KdfLimit::DEFAULT)
    };
    assert!(same(&open(Some(&key)).unwrap().unwrap(), &world.root));
    assert!(
        open(Some(&SecretValue::copy_of(&[6; 32])))
            .unwrap()
            .is_none()
    );
    assert_eq!(open(None).err(), Some(VaultError::KeyFile));
    assert_eq!(open(Some(&text("short"))).err(), Some(VaultError::RawKey));
}

#[test]
fn raw_key_and_recovery_slots() {
    let mut world = World::new("raw");
    let code = recovery::generate(&mut world.rng);
    let new = NewSlot::Raw {
        secret: code.clone(),
        hint: RawKeyHint::RecoveryCode,
    };
    let (header, slot) = with_slot(&mut world, &new);
    assert!(same(
        &open_raw(&header, &slot, &code).unwrap().unwrap(),
        &world.root
    ));
    assert!(
        open_raw(&header, &slot, &SecretValue::copy_of(&[0; 20]))
            .unwrap()
            .is_none()
    );
    assert_eq!(
        open_raw(&header, &slot, &raw_key()).err(),
        Some(VaultError::RecoveryCode)
    );
    let first = &header.slots()[0];
    assert!(same(
        &open_raw(&header, first, &raw_key()).unwrap().unwrap(),
        &world.root
    ));
    assert_eq!(
        open_raw(&header, first, &code).err(),
        Some(VaultError::RawKey)
    );
    assert_eq!(
        open_passphrase(&header, first, &text("x"), None, &KdfLimit::DEFAULT).err(),
        Some(VaultError::SlotKind)
    );
    let short = NewSlot::Raw {
        secret: code,
        hint: RawKeyHint::Tpm,
    };
    let context = SlotContext::of(&header);
    assert_eq!(
        short.wrap(&context, &world.root, &mut world.rng),
        Err(VaultError::RawKey)
    );
}

#[test]
fn an_age_slot_checks_every_field_of_its_file() {
    let mut world = World::new("age");
    let id = slot::new_slot_id(&mut world.rng);
    let context = SlotContext::of(world.vault.header());
    let plaintext = age_plaintext(&context, &id, &world.root);
    let file = b"age-encryption.org/v1\n-> X25519 pretended".to_vec();
    let new = NewSlot::Age {
        id,
        file: file.clone(),
    };
    let (header, slot) = with_slot(&mut world, &new);
    assert_eq!(age_payload(&header, &slot), file);
    let root = root_from_age_plaintext(&header, &slot, &plaintext).unwrap();
    assert!(same(&root, &world.root));
    for at in 0..plaintext.len() - 32 {
        let mut other = plaintext.expose().to_vec();
        other[at] ^= 1;
        let other = SecretValue::copy_of(&other);
        assert!(
            root_from_age_plaintext(&header, &slot, &other).is_err(),
            "byte {at}"
        );
    }
    for len in [0, 46, 78] {
        assert!(root_from_age_plaintext(&header, &slot, &plaintext.slice(0..len)).is_err());
    }
    let armored = NewSlot::Age {
        id,
        file: b"-----BEGIN AGE ENCRYPTED FILE-----".to_vec(),
    };
    assert!(armored.wrap(&context, &world.root, &mut world.rng).is_err());
}

#[test]
fn a_slot_can_not_be_moved() {
    let mut world = World::new("moved from");
    let mut other = World::new("moved to");
    let (header, slot) = with_slot(&mut world, &passphrase_slot(None));
    other
        .rewrite(Rewrite::Slots(vec![slot.clone()]), 0)
        .unwrap();
    let open = |header: &Header, slot: &Slot| {
        open_passphrase(header, slot, &text("pass"), None, &KdfLimit::DEFAULT).unwrap()
    };
    assert!(open(&header, &slot).is_some());
    assert!(
        open(other.vault.header(), &slot).is_none(),
        "bound to the vault"
    );
    let next = NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::File,
    };
    world.rekey(vec![next], 0).unwrap();
    assert!(
        open(world.vault.header(), &slot).is_none(),
        "bound to the epoch"
    );
    let mut bytes = world.vault.header().bytes().to_vec();
    bytes[132 + 8] ^= 1;
    let renamed = Header::parse(&bytes).unwrap();
    let opened = open_raw(&renamed, &renamed.slots()[0], &raw_key()).unwrap();
    assert!(opened.is_none(), "bound to its id");
}

#[test]
fn a_slot_that_commits_but_does_not_open_is_broken() {
    let world = World::new("broken slot");
    let mut bytes = world.vault.header().bytes().to_vec();
    let tag = bytes.len() - 32 - 1;
    bytes[tag] ^= 1;
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(
        open_raw(&header, &header.slots()[0], &raw_key()).err(),
        Some(VaultError::Corrupt("the keyslot's wrapped key"))
    );
}

#[test]
fn slots_in_another_order_are_noticed() {
    let mut world = World::new("order");
    with_slot(
        &mut world,
        &NewSlot::Raw {
            secret: raw_key(),
            hint: RawKeyHint::Tpm,
        },
    );
    let mut bytes = world.vault.header().bytes().to_vec();
    let (first, second) = bytes[132..132 + 2 * 136].split_at_mut(136);
    first.swap_with_slice(second);
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(
        header.verify(&world.root).err(),
        Some(VaultError::Corrupt("header MAC"))
    );
}

/// A slot as it stands in a header, with its flags and body.
fn read_slot(code: u16, flags: u16, body: &[u8]) -> Result<Slot, VaultError> {
    let len = (body.len() as u32).to_le_bytes();
    let [code, flags] = [code, flags].map(u16::to_le_bytes);
    let bytes = [code.as_slice(), &flags, &len, &[8; 16], body].concat();
    Slot::parse(&mut wire::Fields(&bytes))
}

#[test]
fn a_slot_reads_as_it_was_made_and_says_who_vouches_for_the_vault() {
    let mut world = World::new("slots");
    let raw = |hint| NewSlot::Raw {
        secret: raw_key(),
        hint,
    };
    let file = b"age-encryption.org/v1\nx".to_vec();
    let made = [
        (passphrase_slot(None), true),
        (passphrase_slot(Some(raw_key())), true),
        (raw(RawKeyHint::File), true),
        (raw(RawKeyHint::Other(99)), true),
        (NewSlot::Age { id: [7; 16], file }, false),
    ];
    for (new, authenticates) in made {
        let (header, slot) = with_slot(&mut world, &new);
        let again = Header::parse(header.bytes()).unwrap();
        assert_eq!(again.slots().last(), Some(&slot));
        assert_eq!(again.slot(&slot.id), Ok(&slot));
        assert_eq!(again.slot(&[0; 16]), Err(VaultError::SlotAbsent));
        assert_eq!(slot.authenticates(), authenticates, "{slot:?}");
        // Nothing of its body.
        let shown = format!("Slot {{ id: {:?}, kind: {:?} }}", slot.id, slot.kind);
        assert_eq!(format!("{slot:?}"), shown);
    }
    for code in [4, 9] {
        assert!(!read_slot(code, 0, b"").unwrap().authenticates());
    }
}

#[test]
fn a_slot_has_the_sizes_and_flags_of_its_kind() {
    let age = |len: usize, told: usize| {
        let mut body = (told as u32).to_le_bytes().to_vec();
        body.extend(b"age-encryption.org/v1\n");
        body.resize(4 + len, b'x');
        read_slot(2, 0, &body).map(|slot| slot.kind)
    };
    let (most, sizes) = (
        limits::MAX_AGE_FILE,
        Err(VaultError::Corrupt("keyslot sizes")),
    );
    assert_eq!(age(most, most), Ok(SlotKind::Age));
    for (len, told) in [(most + 1, most + 1), (most, most - 1), (99, 100)] {
        assert_eq!(age(len, told), sizes, "{len} {told}");
    }
    let most = limits::MAX_SLOT_BODY;
    assert!(read_slot(9, 0, &vec![0; most]).is_ok());
    let over = VaultError::Corrupt("keyslot body over its limit");
    assert_eq!(read_slot(9, 0, &vec![0; most + 1]), Err(over));
    let keyfile = |flags| match read_slot(1, flags, &[0; 44 + 104]).map(|slot| slot.kind) {
        Ok(SlotKind::Passphrase { keyfile, .. }) => Ok(keyfile),
        other => Err(other),
    };
    assert_eq!([keyfile(0), keyfile(1)], [Ok(false), Ok(true)]);
    let flags = Err(Err(VaultError::Corrupt("reserved flags of a keyslot")));
    assert_eq!(keyfile(2), flags);
    assert_eq!(keyfile(3), flags);
}

#[test]
fn what_is_not_known_is_kept() {
    let mut world = World::new("unknown slot");
    let mut unknown = 9u16.to_le_bytes().to_vec();
    unknown.extend([0xff, 0xff, 3, 0, 0, 0]);
    unknown.extend([8; 16]);
    unknown.extend(b"???");
    let unknown = Slot::parse(&mut wire::Fields(&unknown)).unwrap();
    assert_eq!(unknown.kind, SlotKind::Unknown(9));
    let slots = slot::add(world.vault.header().slots(), unknown.clone()).unwrap();
    world.rewrite(Rewrite::Slots(slots), 0).unwrap();
    world.rewrite(Rewrite::Compact, 0).unwrap();
    assert_eq!(world.reopen().header().slots()[1], unknown);
    let usable = world.vault.header().slots()[0].id;
    let rest = slot::remove(world.vault.header().slots(), &usable);
    assert_eq!(
        rest,
        Err(VaultError::SlotLast),
        "the unknown one does not count"
    );
    assert_eq!(
        slot::remove(world.vault.header().slots(), &[0; 16]),
        Err(VaultError::SlotAbsent)
    );
    let new = NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::Kms,
    };
    let context = SlotContext::of(world.vault.header());
    let new = new.wrap(&context, &world.root, &mut world.rng).unwrap();
    let replaced = slot::replace(world.vault.header().slots(), &usable, new.clone()).unwrap();
    assert_eq!(replaced, [new, unknown]);
}

fn refused(params: KdfParams, limit: &KdfLimit) -> bool {
    matches!(params.check(limit), Err(VaultError::KdfLimit { .. }))
}

#[test]
fn the_cost_is_bounded_before_memory_is_asked_for() {
    let base = KdfParams {
        m_kib: 65_536,
        t: 3,
        p: 4,
    };
    let default = KdfLimit::DEFAULT;
    for good in [
        base,
        KdfParams::DEFAULT,
        KdfParams::FLOOR,
        KdfParams::MINIMAL,
        KdfParams {
            m_kib: 2 << 20,
            t: 3,
            p: 16,
        },
        KdfParams {
            m_kib: 19_456,
            t: 16,
            p: 16,
        },
    ] {
        assert_eq!(good.check(&default), Ok(()), "{good:?}");
    }
    for bad in [
        KdfParams {
            m_kib: 19_455,
            ..base
        },
        KdfParams {
            m_kib: (2 << 20) + 1,
            t: 1,
            p: 4,
        },
        KdfParams {
            m_kib: u32::MAX,
            ..base
        },
        KdfParams { t: 0, ..base },
        KdfParams { t: 17, ..base },
        KdfParams { p: 0, ..base },
        KdfParams { p: 17, ..base },
        KdfParams {
            m_kib: (6 << 20) / 4 + 1,
            t: 4,
            p: 4,
        },
    ] {
        assert!(refused(bad, &default), "{bad:?}");
    }
}

#[test]
fn the_reader_says_what_it_will_spend() {
    let base = KdfParams {
        m_kib: 65_536,
        t: 3,
        p: 4,
    };
    let default = KdfLimit::DEFAULT;
    let available = |kib| KdfLimit {
        available_kib: Some(kib),
        ..default
    };
    assert!(!refused(base, &available(131_072)));
    assert!(refused(base, &available(131_071)));
    let large = KdfParams {
        m_kib: 3 << 20,
        t: 3,
        p: 4,
    };
    assert!(refused(large, &default));
    assert!(!refused(large, &KdfLimit::raised_to(3 << 10)));
    assert!(refused(
        KdfParams { t: 17, ..base },
        &KdfLimit::raised_to(u32::MAX)
    ));
    assert!(
        !refused(base, &KdfLimit::raised_to(1)),
        "raising never lowers"
    );
}

#[test]
fn a_recovery_code_reads_as_people_write() {
    let code = SecretValue::copy_of(&std::array::from_fn::<u8, 20, _>(|i| i as u8 * 13));
    let printed = recovery::format(&code).unwrap();
    let printed = std::str::from_utf8(printed.expose()).unwrap().to_owned();
    assert_eq!(printed.len(), recovery::TEXT_LEN);
    assert!(
        printed.split('-').all(|group| group.len() == 4),
        "{printed}"
    );
    let parse = |typed: &str| recovery::parse(&text(typed)).map(|code| code.expose().to_vec());
    assert_eq!(parse(&printed).unwrap(), code.expose());
    assert_eq!(
        parse(&printed.to_lowercase().replace('-', " ")).unwrap(),
        code.expose()
    );
    assert_eq!(
        parse(&format!(" {}\n", printed.replace('-', ""))).unwrap(),
        code.expose()
    );
    let spread = |len: usize| format!("{printed}{}", " ".repeat(len - printed.len()));
    assert_eq!(parse(&spread(recovery::MAX_TEXT)).unwrap(), code.expose());
    assert_eq!(
        parse(&spread(recovery::MAX_TEXT + 1)),
        Err(VaultError::RecoveryCode)
    );
    let sloppy = printed.replace('0', "o").replace('1', "l");
    assert_eq!(parse(&sloppy).unwrap(), code.expose());
    for wrong in ["", &printed[1..], &format!("{printed}0"), &"-".repeat(200)] {
        assert_eq!(parse(wrong), Err(VaultError::RecoveryCode), "{wrong}");
    }
    assert_eq!(
        parse(&printed.replacen('0', "U", 1)),
        Err(VaultError::RecoveryCode)
    );
}

proptest! {
    #[test]
    fn recovery_codes_round_trip(
        bytes in any::<[u8; 20]>(), at in 0..36usize, shift in 1..32usize,
    ) {
        let code = SecretValue::copy_of(&bytes);
        let printed = recovery::format(&code).unwrap();
        prop_assert_eq!(recovery::parse(&printed).unwrap(), code);
        let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut typo = printed.expose().to_vec();
        let place = at + at / 4;
        let digit = alphabet.iter().position(|letter| *letter == typo[place]).unwrap();
        typo[place] = alphabet[(digit + shift) % 32];
        let found = recovery::parse(&SecretValue::copy_of(&typo)).is_err();
        prop_assert!(found || at < 32, "an error in the check itself is always found");
    }
}
