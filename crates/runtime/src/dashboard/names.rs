//! What things of a dashboard are called by people who read one language, as the page calls them.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_project::resource::dashboard::{Dashboard, Tile};
use flywheel_project::resource::schedule::Language;
use flywheel_project::resource::semantic::Label;

use super::described;
use crate::metrics::Described;

/// What things of a dashboard are called.
#[derive(Debug)]
pub struct Names<'a> {
    language: Language,
    metrics: Vec<Described<'a>>,
    /// The name of the metric for each word that a tile has for one.
    words: BTreeMap<String, String>,
}

impl<'a> Names<'a> {
    /// The names of a dashboard in a language.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if a metric is unknown.
    pub fn new(project: &'a Project, board: &Dashboard, language: Language) -> Result<Self> {
        let semantics = project.semantics();
        let mut words = BTreeMap::new();
        for word in board.tiles.iter().flat_map(|tile| &tile.metrics) {
            words.insert(word.clone(), semantics.metric(word)?.name.to_owned());
        }
        Ok(Self { language, metrics: described(project, board)?, words })
    }

    /// Whether they are Chinese.
    #[must_use]
    pub fn is_zh(&self) -> bool {
        self.language == Language::Zh
    }

    /// One of two texts of ours.
    #[must_use]
    pub fn word<'t>(&self, en: &'t str, zh: &'t str) -> &'t str {
        match self.language {
            Language::En => en,
            Language::Zh => zh,
        }
    }

    /// A label in the language, in the other one if it lacks that, or what is plainly there.
    #[must_use]
    pub fn label(&self, label: &Label, plain: &str) -> String {
        let (first, other) = match self.language {
            Language::En => (&label.en, &label.zh),
            Language::Zh => (&label.zh, &label.en),
        };
        first.clone().or_else(|| other.clone()).unwrap_or_else(|| plain.to_owned())
    }

    /// The dashboard's title.
    #[must_use]
    pub fn board(&self, board: &Dashboard) -> String {
        self.label(&board.title, &board.dashboard)
    }

    /// What stands above a tile: its title, else what its metrics are called.
    #[must_use]
    pub fn title(&self, tile: &Tile) -> String {
        if tile.title.texts().next().is_some() || tile.metrics.is_empty() {
            return self.label(&tile.title, &tile.tile);
        }
        let between = self.word(", ", "、");
        let metrics: Vec<String> = tile.metrics.iter().map(|word| self.metric(word)).collect();
        let what = metrics.join(between);
        if tile.by.is_empty() {
            return what;
        }
        let by: Vec<String> = tile.by.iter().map(|one| self.dimension(one)).collect();
        let by = by.join(between);
        match self.language {
            Language::En => format!("{what} by {by}"),
            Language::Zh => format!("{what}（按 {by}）"),
        }
    }

    /// The metrics of a tile, in its order, with those that are known.
    pub fn of_tile<'t>(&'t self, tile: &'t Tile) -> impl Iterator<Item = &'t Described<'a>> {
        tile.metrics.iter().filter_map(move |word| self.described(word))
    }

    fn described(&self, word: &str) -> Option<&Described<'a>> {
        let name = self.words.get(word).map_or(word, String::as_str);
        self.metrics.iter().find(|metric| metric.metric == name)
    }

    /// A label in the language; Chinese readers read English ones where there is no other.
    pub(super) fn own(&self, label: &Label) -> Option<String> {
        match self.language {
            Language::En => label.en.clone(),
            Language::Zh => label.zh.clone().or_else(|| label.en.clone()),
        }
    }

    /// What a metric is called.
    #[must_use]
    pub fn metric(&self, word: &str) -> String {
        let Some(metric) = self.described(word) else { return word.to_owned() };
        let is_zh = self.is_zh();
        let fitting = metric.label.iter().find(|label| is_chinese(label) == is_zh);
        let any = metric.label.first().filter(|_| is_zh);
        fitting.or(any).copied().unwrap_or(metric.metric).to_owned()
    }

    /// What a dimension is called by the metrics that have it, or its name; of several that are called alike, those of other
    /// tables say their name, too.
    #[must_use]
    pub fn dimension(&self, dimension: &str) -> String {
        let bare = dimension.split(':').next().unwrap_or(dimension);
        let rest = dimension.get(bare.len()..).unwrap_or_default();
        for metric in &self.metrics {
            let labels = &metric.dimension_labels;
            let Some(label) = labels.get(bare).and_then(|label| self.own(label)) else { continue };
            let other = |(name, one): (&String, &&Label)| {
                name != bare && self.own(one).is_some_and(|one| one == label)
            };
            let alike = bare.contains('.') && labels.iter().any(other);
            let more = if alike { format!(" ({bare})") } else { String::new() };
            return format!("{label}{more}{rest}");
        }
        dimension.to_owned()
    }

    /// A value that was chosen of a dimension, with what people call it.
    #[must_use]
    pub fn chosen(&self, dimension: &str, value: &str) -> String {
        let labels = self.metrics.iter().find_map(|metric| metric.value_labels.get(dimension));
        let label = labels.and_then(|labels| labels.get(value));
        match label.and_then(|label| self.own(label)) {
            Some(label) => format!("{label} ({value})"),
            None => value.to_owned(),
        }
    }

    /// What a column of a tile's answer is called.
    #[must_use]
    pub fn column(&self, tile: &Tile, column: &str) -> String {
        if let Some(by) = tile.by.iter().find(|one| one.replace('.', "_") == column) {
            return self.dimension(by);
        }
        for metric in self.of_tile(tile) {
            match column.strip_prefix(metric.metric) {
                Some("") => return self.metric(metric.metric),
                Some("_before") => {
                    let name = self.metric(metric.metric);
                    return format!("{name}{}", self.word(", before", "（对比期）"));
                }
                Some("_change") => {
                    let name = self.metric(metric.metric);
                    return format!("{name}{}", self.word(", change", "（变化）"));
                }
                _ => {}
            }
        }
        match column {
            "time" if !tile.metrics.is_empty() => self.word("Time", "时间").to_owned(),
            other => other.to_owned(),
        }
    }
}

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{3400}'..='\u{9fff}').contains(&c))
}
