//! Files that are opened by name: read within bounds, and written for their owner alone, never
//! through a link that somebody else may have left there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};

/// Nobody but the owner reads or writes a file.
const FILE_MODE: u32 = 0o600;
/// Nobody but the owner looks into a folder.
const FOLDER_MODE: u32 = 0o700;
/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// Reads all of a file that has at most `most` bytes. What its length is said to be does not count:
/// a device has none, and does not end.
///
/// # Errors
/// When it can't be read, is a directory, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        let text = "it is a directory; expected a file";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let text = format!("it is larger than {most} bytes, the most that is read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Reads all of a file that has at most `most` bytes of UTF-8.
///
/// # Errors
/// When it can't be read, is a directory, is larger, or is no text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path, most)?).map_err(no_text)
}

/// Makes an empty file for its owner alone, in place of whatever has its name. A link is taken
/// away; where it leads to, nothing changes.
///
/// # Errors
/// When the system refuses.
pub fn create(path: &Path) -> io::Result<File> {
    // One that may exist would keep the mode, the owner and the readers that somebody gave it.
    let new = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
    };
    match new() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            new()
        }
        made => made,
    }
}

/// Whether a file that is not there is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absent {
    /// It is made.
    Make,
    /// It is an error.
    Refuse,
}

/// Opens a file of our own to read and write, for its owner alone from then on.
///
/// # Errors
/// When it is a link, or the system refuses.
pub fn open_own(path: &Path, absent: Absent) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(absent == Absent::Make).truncate(false);
    let file = options.mode(FILE_MODE).custom_flags(nofollow).open(path).map_err(|error| {
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            let text = "it is a symbolic link, which is not followed here";
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        }
        error
    })?;
    if is_lax(&file.metadata()?.permissions()) {
        // Err: it is somebody else's, who let us write to it.
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
    }
    Ok(file)
}

/// Makes a folder for its owner alone.
///
/// # Errors
/// When something of this name is there, or the system refuses.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

/// Whether others than its owner may do something with what has this name.
///
/// # Errors
/// When the system does not say.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(is_lax(&fs::metadata(path)?.permissions()))
}

fn is_lax(permissions: &Permissions) -> bool {
    permissions.mode() & OTHERS != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_has_no_end_or_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "twelve bytes").unwrap();
        assert_eq!(read_text(&file, 12).unwrap(), "twelve bytes");
        assert_eq!(read(&file, 11).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let endless = read(Path::new("/dev/zero"), 1 << 16).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(folder.path(), 1).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 12).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_made_is_for_its_owner_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (others, ours) = (folder.path().join("others"), folder.path().join("ours"));
        fs::write(&others, "theirs").unwrap();
        fs::set_permissions(&others, Permissions::from_mode(0o644)).unwrap();
        symlink(&others, &ours).unwrap();
        let refused = open_own(&ours, Absent::Make).unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");
        create(&ours).unwrap();
        assert!(!fs::symlink_metadata(&ours).unwrap().is_symlink());
        assert_eq!((fs::read(&others).unwrap(), mode(&others)), (b"theirs".to_vec(), 0o644));
        assert_eq!(mode(&ours), 0o600);
        fs::hard_link(&others, folder.path().join("twin")).unwrap();
        create(&folder.path().join("twin")).unwrap();
        assert_eq!(fs::read(&others).unwrap(), b"theirs", "nor a second name");
    }

    #[test]
    fn what_was_open_to_others_is_closed_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(open_own(&file, Absent::Refuse).is_err());
        drop(open_own(&file, Absent::Make).unwrap());
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        assert!(is_open_to_others(&file).unwrap());
        drop(open_own(&file, Absent::Refuse).unwrap());
        assert_eq!(mode(&file), 0o600);
        let made = folder.path().join("folder");
        create_folder(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        assert!(create_folder(&made).is_err(), "it must be a new one");
    }
}
