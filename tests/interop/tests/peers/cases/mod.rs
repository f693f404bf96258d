//! The cases. Their list, with what each is for, is in `docs/TESTING.md`.

mod connecting;

use crate::Case;

macro_rules! cases {
    ($($name:ident: $function:path,)*) => {
        /// All cases, in the order of their names.
        pub(crate) const ALL: [Case; { [$(stringify!($name)),*].len() }] =
            [$(Case { name: stringify!($name), run: |bench| Box::pin($function(bench)) }),*];
    };
}

cases! {
    p01_in_band: connecting::one_message_each_way_on_an_in_band_channel,
}
